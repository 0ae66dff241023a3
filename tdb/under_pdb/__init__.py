"""One training step under the real pdb, in the training thread.

pdb traces the loop's own frames from the boundary on, and reads its commands from whoever holds the terminal or the
script: the main thread. What tdb itself does in a step is hidden from it. The trace is taken off at the next boundary.
"""

from tdb.under_pdb.debugger import StepDebugger

__all__ = ["StepDebugger"]
