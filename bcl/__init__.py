"""Bidirectional Competitive Learning: a learning rule for one linear layer of a model.

`attach_bcl` puts it on, `bcl.rules` has the formulas of every iteration, `bcl.health` follows how the features fare,
`bcl.measures` compares models. `bcl.panel` shows the rule in tdb and is the only part that needs tdb.
"""

from bcl.attach import BCL, attach_bcl
from bcl.config import BCLConfig

__all__ = ["BCL", "BCLConfig", "attach_bcl"]
