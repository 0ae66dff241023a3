"""What the documents say is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from tdb.beside import NAME
from tdb.commands import all_commands, declared_in
from tdb.commands.binding import bind
from tdb.controller import DebugController
from tdb.script import Script
from tests.conftest import PATIENCE, join
from tests.typing_session import TypingSession

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
COMMANDS = list(all_commands())
NO_WORD = re.compile(r"─+|\d+-\d+")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def alike(shown: str, expected: str, relative: float = 0.15, absolute: float = 0.02) -> bool:
    """Compare word by word.

    Another processor rounds differently, and the rule amplifies it: numbers need only be near. Which of many equal
    pairs are named, and the rules of a table, do not count.
    """
    ours, theirs = (
        [word.strip("()") for word in text.split() if not NO_WORD.fullmatch(word)] for text in (shown, expected)
    )
    if len(ours) != len(theirs):
        return False
    for one, other in zip(ours, theirs, strict=True):
        try:
            if float(one.rstrip(",")) != pytest.approx(float(other.rstrip(",")), rel=relative, abs=absolute):
                return False
        except ValueError:
            if one != other:
                return False
    return True


@pytest.mark.parametrize("text", blocks(README, "text"), ids=lambda text: text.splitlines()[1])
def test_a_session_in_the_readme_is_a_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(ROOT)
    command, *typed = re.split(r"^\(tdb\) (.*)$", text, flags=re.MULTILINE)
    assert command.startswith("$ tdb ")
    _, _, *words = command.split()
    is_module = words[0] == "-m"
    name, *arguments = words[is_module:]
    session = TypingSession(tmp_path, Script(name, tuple(arguments), is_module=is_module))
    session.type("set figures off")
    try:
        for line, expected in zip(typed[::2], typed[1::2], strict=True):
            shown = "\n".join(row for row in session.type(line).splitlines() if "mean off-diagonal" not in row)
            # Where checkpoints lie depends on how fast the machine is.
            both = [re.sub("(?m)^in place: .*", "in place", text) for text in (shown, expected)]
            assert alike(*both), f"after {line!r} the README says\n{expected}\nbut it is\n{shown}"
    finally:
        session.close()


@pytest.mark.parametrize("line", [line for line in README.splitlines() if line.startswith(("$ tdb -c", "$ tdb -x"))])
def test_a_script_line_of_the_readme_succeeds(tmp_path: Path, run_with_torch: Run, line: str) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    command, _, out = line.removeprefix("$ tdb").partition(" > ")
    run = run_with_torch("-m", "tdb", "--nx", *shlex.split(command))
    assert run.returncode == 0, run.stderr
    if out:
        (tmp_path / out).write_text(run.stdout)
    written = re.findall(r"[\w.]+\.(?:csv|jsonl)", line)
    assert written
    for name in written:
        assert (tmp_path / name).stat().st_size > 0


def test_the_python_example_stops_where_the_session_does(capsys: pytest.CaptureFixture[str]) -> None:
    example = next(block for block in blocks(README, "python") if "tdb.run(" in block)
    variables: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), variables)
    assert "win_rate" in capsys.readouterr().out


TRAINING = """
import threading
import torch
import tdb
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = torch.nn.CrossEntropyLoss()
loader = [(torch.rand(8, 4), torch.randint(0, 3, (8,))) for _ in range(6)]
"""


def block_with(word: str) -> str:
    return next(block for block in blocks(README, "python") if word in block)


def test_two_lines_make_a_loop_debuggable(tmp_path: Path, run_with_torch: Run) -> None:
    script = TRAINING + block_with("controller.steps(loader)")
    (tmp_path / "train.py").write_text(script)
    plain = run_with_torch("train.py")
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "", "")
    session = TypingSession(tmp_path, script)
    session.play("""
        (tdb) step 2
        > step 2  epoch 1  loss ...
        -> for images, labels in controller.steps(loader): ...
        (tdb) batch
        step  2
        ...
        (tdb) continue
        Training finished after 6 steps
    """)
    session.close()


def test_set_trace_opens_the_shell_of_a_plain_run(tmp_path: Path, run_with_torch: Run) -> None:
    script = f"{TRAINING}{block_with('tdb.set_trace()')}\nprint(evaluate(model, torch.rand(5, 4)).shape)\n"
    (tmp_path / "train.py").write_text(script)
    ended = run_with_torch("train.py", stdin="p outputs.shape\nargs\ncontinue\n")
    shown = ended.stdout
    assert ended.returncode == 0
    assert "-> tdb.set_trace()" in shown
    assert "torch.Size([5, 3])" in shown
    assert shown.endswith("torch.Size([5])\n")


def test_the_cells_of_a_notebook_control_training() -> None:
    train = """
controller = tdb.attach(model, optimizer)


def train():
    for images, labels in controller.steps(loader * 10**6):
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()


"""
    variables: dict[str, object] = {}
    before = threading.enumerate()
    exec(compile(TRAINING + train + block_with("threading.Thread"), "README.md", "exec"), variables)
    controller = variables["controller"]
    assert isinstance(controller, DebugController)
    controller.stop()
    assert controller.wait(PATIENCE) == "ended"
    # The one that computes metrics beside training goes when nobody has the controller any more.
    join(*(thread for thread in threading.enumerate() if thread not in before and thread.name != NAME))


def test_the_table_of_ten_commands_is_true() -> None:
    rows = re.findall(r"^\| `(\w+)[^`]*` \| (?:`(\w+)`)? ?\|", README, re.MULTILINE)
    assert len(rows) == 10
    known = {command.name: command for command in COMMANDS}
    for name, short in rows:
        assert name in known
        assert not short or short in known[name].short


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself_with_examples_that_parse(command: object) -> None:
    assert command.summary.endswith(".")  # type: ignore[attr-defined]
    assert command.examples  # type: ignore[attr-defined]
    for example in command.examples:  # type: ignore[attr-defined]
        name, _, arguments = example.partition(" ")
        assert name in (command.name, *command.short)  # type: ignore[attr-defined]
        bind(name, command.parameters, arguments)  # type: ignore[attr-defined]


def test_contributing_adds_a_command_that_works(tmp_path: Path) -> None:
    source = next(block for block in blocks(CONTRIBUTING, "python") if "@command" in block)
    module = types.ModuleType("counting")
    exec(compile(source, "counting.py", "exec"), module.__dict__)
    session = TypingSession(tmp_path, "print('no training')")
    session.session.registry.add(declared_in(module))
    session.play("""
        (tdb) count 2
        0 steps
        0 steps
        (tdb) cnt x
        *** count takes a number from 1, not 'x'. Example: count 3
        (tdb) help count
        Usage: count [N]   Short: cnt
        Say how many steps were taken, as often as asked.
        ...
    """)
    session.close()
