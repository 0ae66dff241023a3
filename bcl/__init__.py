"""Bidirectional Competitive Learning: a learning rule for one linear layer of a model.

`attach_bcl` puts it on, `bcl.rule` has the formulas, `bcl.panel` shows it in tdb and is the only part that needs tdb.
"""

from bcl.attach import BCL, BCLConfig, attach_bcl

__all__ = ["BCL", "BCLConfig", "attach_bcl"]
