"""tdb: pdb for PyTorch training.

controller = tdb.attach(model, optimizer)       # in your script, run by `tdb SCRIPT` or without tdb
controller = tdb.DebugController()              # in your own program
tdb.set_trace()                                 # the shell at this point of any script
%load_ext tdb                                   # in a notebook: `%tdb step 5` beside `tdb.attach`
session = tdb.run("train.py", ["--lr", "0.1"])  # the commands of the shell as Python: see tdb.api
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdb.active import active_controller
    from tdb.api import run
    from tdb.controller import DebugController
    from tdb.errors import TdbError, TrainingStopped
    from tdb.own_loop import attach
    from tdb.trace import set_trace

__all__ = [
    "DebugController",
    "TdbError",
    "TrainingStopped",
    "__version__",
    "active_controller",
    "attach",
    "run",
    "set_trace",
]

__version__ = "0.1.0.dev0"

_HOMES = {
    "DebugController": "tdb.controller",
    "TdbError": "tdb.errors",
    "TrainingStopped": "tdb.errors",
    "active_controller": "tdb.active",
    "attach": "tdb.own_loop",
    "load_ipython_extension": "tdb.shell.notebook",
    "run": "tdb.api",
    "set_trace": "tdb.trace",
}

_FRAMEWORKS = frozenset({"accelerate", "ignite", "lightning", "transformers"})


def __dir__() -> list[str]:
    """Return what there is to complete, used before or not."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a recipe that is not debugged pays for nothing."""
    from importlib import import_module

    if name in _FRAMEWORKS:
        return import_module(f"tdb.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tdb' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
