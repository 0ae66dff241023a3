"""A script finds under tdb what it finds without it."""

from __future__ import annotations

import json
import re
import zipapp

import pytest

from tests.scripts.conftest import Place

WHO_AM_I = """
    import json, sys
    own = {name: globals().get(name, "none") for name in
           ("__name__", "__file__", "__package__", "__cached__", "__doc__")}
    spec = None if __spec__ is None else [__spec__.name, __spec__.origin]
    here = sys.modules["__main__"].__dict__ is globals()
    found = [own, spec, type(__loader__).__name__, here, sys.argv, sys.path[0],
             sorted(globals().keys() - {"__annotations__"})]  # Python 3.14 makes those when they are asked for
    print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "how",
    [
        ["who.py"],
        ["link.py"],
        ["inner/who.py"],
        ["-m", "who"],
        ["-m", "inner.who"],
        ["-m", "inner"],
        ["inner"],
        ["a.pyz"],
    ],
)
def test_what_it_sees_of_itself(place: Place, how: list[str]) -> None:
    for name in ("who.py", "inner/who.py", "inner/__init__.py", "inner/__main__.py", "elsewhere/who.py"):
        place.write(name, WHO_AM_I if "init" not in name else "")
    (place.folder / "link.py").symlink_to("elsewhere/who.py")
    zipapp.create_archive(place.folder / "inner", place.folder / "a.pyz")
    plain = place.python(*how, "one", "--two", "-c")
    debugged = place.tdb("-c", "continue", *how, "one", "--two", "-c")
    assert plain.status == debugged.status == 0
    assert json.loads(debugged.out.splitlines()[0]) == json.loads(plain.out)


def test_its_log_names_the_thread_that_a_plain_run_names(place: Place) -> None:
    place.write(
        "log.py",
        """
        import logging

        logging.basicConfig(format="%(threadName)s: %(message)s", force=True)
        logging.warning("trained")
        """,
    )
    plain = place.python("log.py")
    assert (plain.status, plain.error) == (0, "MainThread: trained\n")
    for how in ([], ["--training-thread", "main"]):
        assert place.tdb(*how, "-c", "continue", "log.py").error == plain.error


def test_processes_that_it_spawns_find_its_functions(place: Place) -> None:
    place.write(
        "spawn.py",
        """
        import multiprocessing
        import pickle
        import sys

        def square(x):
            return x * x

        if __name__ == "__main__":
            with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
                print(pool.map(square, [2, 3]), pickle.loads(pickle.dumps(square))(4))
        """,
    )
    for method in ("spawn", "forkserver", "fork"):
        for how in (["spawn.py"], ["-m", "spawn"]):
            ended = place.tdb("-c", "continue", *how, method)
            assert (ended.status, ended.out.splitlines()[0]) == (0, "[4, 9] 16")
            assert re.fullmatch(r"the script starts processes \(.*\): tdb follows this one, .*\n", ended.error)


def test_its_streams(place: Place) -> None:
    place.write(
        "streams.py",
        """
        import os, subprocess, sys
        sys.stdout.reconfigure(line_buffering=True)
        print("from print")
        print("from stderr", file=sys.stderr)
        os.write(1, b"from the descriptor\\n")
        sys.stdout.buffer.write(b"from the buffer\\n")
        sys.stdout.flush()
        subprocess.run(["echo", "from a child"])
        """,
    )
    ended = place.tdb("-c", "continue", "streams.py")
    lines = ["from print", "from the descriptor", "from the buffer", "from a child"]
    assert ended.out.splitlines()[:-1] == lines
    assert ended.error == "from stderr\n"
    ended = place.tdb("--json", "-c", "continue", "streams.py")
    (answer,) = ended.out.splitlines()
    assert json.loads(answer)["ok"]
    assert sorted(ended.error.splitlines()) == sorted([*lines, "from stderr"])


def test_it_may_read_something_else_in_the_place_of_stdin(place: Place) -> None:
    replaced = "import io\nimport sys\nsys.stdin = io.StringIO('one\\ntwo\\n')\nprint(input(), sys.stdin.readline())\n"
    script = place.write("reading.py", replaced + (place.folder / "loop.py").read_text())
    for options, stdin in ([], "step\nstep\np step + 40\n"), (["-c", "step"], "step\np step + 40\n"):
        ended = place.tdb(*options, script, "5", stdin=stdin)
        assert (ended.status, ended.error) == (0, ""), ended
        assert (ended.out.splitlines()[0], ended.out.splitlines()[-1]) == ("one two", "42"), ended


def test_signal_handlers_are_those_of_a_plain_run(place: Place) -> None:
    script = place.write(
        "handlers.py",
        """
        from signal import SIG_DFL, SIGHUP, SIGINT, SIGTERM, getsignal, signal

        def save(number, frame): ...

        print([getsignal(each) for each in (SIGHUP, SIGINT, SIGTERM)])
        print(signal(SIGTERM, save), getsignal(SIGTERM) is save, signal(SIGTERM, SIG_DFL) is save, getsignal(SIGTERM))
        """,
    )
    assert place.tdb("-c", "continue", script).out.splitlines()[:-1] == place.python(script).out.splitlines()


def test_modes_and_threads_of_torch_and_signal_handlers(torch_place: Place) -> None:
    torch_place.write(
        "modes.py",
        """
        import os, signal
        import torch
        import tdb

        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        heard = []

        def hear(number, frame):
            heard.append(signal.Signals(number).name)

        before = [signal.signal(signal.SIGUSR1, hear), signal.signal(signal.SIGINT, hear)]
        after = [signal.getsignal(signal.SIGUSR1) is hear, signal.getsignal(signal.SIGINT) is hear]
        os.kill(os.getpid(), signal.SIGUSR1)
        controller = tdb.active_controller()
        for step in range(1, 100):
            controller.capture_batch(torch.ones(3), 1.0, step)
            controller.wait_if_paused()
        """,
    )
    commands = [
        "step",
        "p torch.is_grad_enabled()",
        "p torch.get_num_threads()",
        "p torch.get_default_dtype()",
        "p heard",
        "p before, after",
    ]
    ended = torch_place.tdb(*[word for command in commands for word in ("-c", command)], "modes.py")
    notice = "the script handles SIGINT: Ctrl-C still pauses, `interrupt` calls the script's handler\n"
    assert (ended.status, ended.error) == (0, notice)
    assert ended.out.splitlines()[2:] == [
        "False",
        "2",
        "torch.float64",
        "['SIGUSR1']",
        "([<Handlers.SIG_DFL: 0>, <built-in function default_int_handler>], [True, True])",
    ]


def test_what_torch_warns_of_its_loader_is_said_of_the_same_line(torch_place: Place) -> None:
    script = torch_place.write(
        "pinned.py",
        """
        import torch
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        data = torch.ones(4, 2)
        for batch in torch.utils.data.DataLoader(data, batch_size=2, pin_memory=True, pin_memory_device="cpu"):
            model(batch).sum().backward()
            optimizer.step()
        """,
    )
    plain, debugged = torch_place.python(script), torch_place.tdb("-c", "step", "-c", "continue", script)
    assert "UserWarning: " in plain.error
    assert debugged.error == plain.error
    assert "Training finished after 2 steps" in debugged.out


def test_what_torch_warns_of_what_the_script_calls_is_said_of_the_scripts_line(torch_place: Place) -> None:
    script = torch_place.write(
        "warned.py",
        """
        import torch
        class Longer(torch.utils.data.IterableDataset):
            def __len__(self):
                return 1
            def __iter__(self):
                return iter(torch.ones(3, 2))
            def __repr__(self):
                return "Longer"
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD({model.weight}, lr=0.1)
        loader = torch.utils.data.DataLoader(Longer())
        len(loader)
        for batch in loader:
            model(batch).sum().backward()
            optimizer.step()
        """,
    )
    plain, debugged = torch_place.python(script), torch_place.tdb("-c", "step", "-c", "continue", script)
    assert [plain.error.count(warning) for warning in ("ordered collections", "Longer was reported")] == [1, 2]
    assert debugged.error == plain.error
    assert "Training finished after 3 steps" in debugged.out


def test_what_torch_warns_of_in_a_backward_pass_is_said_of_the_same_line(torch_place: Place) -> None:
    """However the step is looked at."""
    script = torch_place.write(
        "passes.py",
        """
        import warnings
        import torch
        from torch import nn
        warnings.simplefilter("always")
        model = nn.Linear(2, 3)
        model.register_full_backward_hook(lambda module, given, came: None)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            model(torch.ones(4, 2)).square().sum().backward()
            optimizer.step()
        """,
    )
    looks = [word for each in ("step", "detect", "phase loss", "step", "continue") for word in ("-c", each)]
    plain, debugged = torch_place.python(script), torch_place.tdb(*looks, script)
    warned, as_plain = ([line for line in each.error.splitlines() if "Warning: " in line] for each in (debugged, plain))
    assert warned == as_plain
    assert len(warned) == 5
    assert "Training finished after 5 steps" in debugged.out
