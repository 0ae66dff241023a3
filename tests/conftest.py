"""Training loops without a model, each in a thread of its own, which write down what they did."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tdb.active import current_controller, set_active_controller
from tdb.controller import DebugController
from tdb.elsewhere.copying import other_threads
from tests.preloaded import Preloaded

ROOT = Path(__file__).parents[1]
# Nothing that is waited for here takes a hundredth of it on a quiet machine; whoever waits longer is stuck.
PATIENCE = 120.0


def pytest_configure() -> None:
    """Let programs hear SIGINT also where the tests run in the background of a script, which has them ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests begin first, so that no processor waits for another at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


class Loop:
    """A training loop: `taken` are the steps that are complete, up to their boundary."""

    def __init__(
        self,
        controller: DebugController,
        steps: int,
        body: Callable[[int], object] | None = None,
        *,
        begin: bool = False,
        last_step: int | None = None,
    ) -> None:
        self.controller = controller
        self.taken: list[int] = []
        self.error: BaseException | None = None
        self._body = body or self._capture
        self._target = SimpleNamespace(last_step=last_step) if begin or last_step else None
        self._steps = steps
        self._progress = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self, *, announced: bool = False) -> Loop:
        """Begin to train; a thread that is announced is waited for from the start."""
        if announced:
            self.controller.gate.launched(self.thread)
        self.thread.start()
        return self

    def reach(self, step: int) -> None:
        """Wait until `step` has been taken."""
        with self._progress:
            assert self._progress.wait_for(lambda: self.taken and self.taken[-1] >= step, PATIENCE), self.taken[-3:]

    def join(self) -> Loop:
        """Wait for the end of the thread."""
        join(self.thread)
        return self

    def _capture(self, step: int) -> None:
        self.controller.capture_batch([step], float(step), step)

    def _run(self) -> None:
        try:
            if self._target is not None:
                self.controller.begin(self._target)
            for step in range(1, self._steps + 1):
                self._body(step)
                with self._progress:
                    self.taken.append(step)
                    self._progress.notify_all()
                self.controller.wait_if_paused()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error


def join(*threads: threading.Thread) -> None:
    """Wait for threads to end; show where everybody is if one does not."""
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
            pytest.fail(f"{thread.name} is stuck")


def in_the_process() -> dict[str, Any]:
    """What a session changes for the whole process while its training lasts."""
    found: dict[str, Any] = {"the controller": current_controller(), "sys.breakpointhook": sys.breakpointhook}
    if "torch" in sys.modules:
        import torch
        from torch.nn.modules import module
        from torch.optim import optimizer

        found |= {
            "forward hooks": len(module._global_forward_hooks) + len(module._global_forward_pre_hooks),
            "optimizer hooks": len(optimizer._global_optimizer_pre_hooks) + len(optimizer._global_optimizer_post_hooks),
            "torch.autograd.backward": torch.autograd.backward,
            "torch.nn.Linear.__call__": torch.nn.Linear.__call__,
        }
    return found


def _check_what_is_left(before: dict[str, Any]) -> None:
    """End a session that was left open, so that one failure does not become many, and say what it has left."""
    after = in_the_process()
    controller = after["the controller"]
    if before["the controller"] is not None and controller in (None, before["the controller"]):
        return  # a session that several tests share goes on, or has come to its end in this one
    left = [f"{name}: {value}" for name, value in after.items() if name in before and value != before[name]]
    if not left:
        return
    if controller is not None and controller is not before["the controller"]:
        controller.stop()
        controller.gate.dismiss()
        if controller.gate.thread is not None and controller.gate.thread is not threading.current_thread():
            controller.gate.thread.join(PATIENCE)
        set_active_controller(before["the controller"])
    sys.breakpointhook = before["sys.breakpointhook"]
    pytest.fail(f"left behind in the process: {'; '.join(left)}")


@pytest.fixture(autouse=True, scope="module")
def _no_module_leaves_anything() -> Iterator[None]:
    """What tests share goes with the last of them."""
    before = in_the_process()
    yield
    _check_what_is_left(before)


@pytest.fixture(autouse=True)
def _no_test_leaves_anything(_no_module_leaves_anything: None) -> Iterator[None]:
    """Hooks, and who is asked for the controller, are the whole process's: other tests would meet them."""
    before = in_the_process()
    yield
    _check_what_is_left(before)


@pytest.fixture(autouse=True)
def _no_test_leaves_a_thread() -> Iterator[None]:
    """No copy can be set aside of a process with a thread of somebody's: other tests would be without theirs."""
    before = set(other_threads())
    yield
    join(*set(other_threads()) - before)


@pytest.fixture(autouse=True)
def _same_arithmetic_after() -> Iterator[None]:
    """The recipe sets how its thread computes, which may be the one that tests run in."""
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if "torch" in sys.modules:
        import torch

        torch.set_flush_denormal(False)
        if threads is not None:
            torch.set_num_threads(threads)


@pytest.fixture
def controller() -> Iterator[DebugController]:
    """A controller whose loop is told to stop after the test, whatever came of it."""
    made = DebugController()
    yield made
    made.stop()
    made.gate.dismiss()


@pytest.fixture
def train(controller: DebugController) -> Callable[..., Loop]:
    """Start a loop under the controller, as a launcher does: `train(steps, body, begin=False, last_step=None)`."""

    def start(steps: int = 10**9, body: Callable[[int], object] | None = None, **options: Any) -> Loop:
        return Loop(controller, steps, body, **options).start(announced=True)

    return start


@pytest.fixture
def elsewhere() -> Callable[..., Any]:
    """Run a function in another thread and return what it does: `elsewhere(function, *arguments)`."""

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda: outcome.append(attempt(partial(function, *arguments))), daemon=True)
        thread.start()
        join(thread)
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return run


def attempt(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Return what a function returns, and what it raises."""
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 - handed on
        return None, error


@pytest.fixture(scope="session")
def preloaded() -> Iterator[Preloaded]:
    """What starts programs that have torch already."""
    made = Preloaded()
    yield made
    made.close()


@pytest.fixture
def run_with_torch(tmp_path: Path, preloaded: Preloaded) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python, which begins with torch loaded, to its end: `run_with_torch("-m", "tdb", ..., stdin="")`."""

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        own = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        ended = preloaded.run(arguments, tmp_path, os.environ | own, stdin.encode(), PATIENCE)
        return subprocess.CompletedProcess(arguments, *ended)

    return run


@pytest.fixture(scope="session")
def embedded_digits() -> Any:
    """They take longer to read than a few steps take to train."""
    from recipes import data

    return data.load()
