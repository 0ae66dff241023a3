"""The controller of the script that runs under tdb in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb.controller import DebugController

_active: DebugController | None = None


def active_controller() -> DebugController | None:
    """Return the controller of this process if its script was started by tdb, else None."""
    return _active


def set_active_controller(controller: DebugController | None) -> None:
    """Make `controller` the one that the script finds; called by the launcher."""
    global _active  # noqa: PLW0603 - one script a process is what pdb has, too
    _active = controller
