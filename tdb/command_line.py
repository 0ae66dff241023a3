"""The command line: tdb's own options, and what is left for the script."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tdb.files import is_there, text_in
from tdb.recording import Recording, parse_recording

TAKES_VALUE = {"-c", "--command", "-x", "--execute", "--on-error", "--figures", "--training-thread"}


@dataclass
class CommandLine:
    """What was asked for on the command line."""

    target: str = ""
    arguments: list[str] = field(default_factory=list)
    is_module: bool = False
    sources: list[tuple[str, bool]] = field(default_factory=list)
    json: bool = False
    batch: bool = False
    go_on: bool = False
    figures: str = ""
    startup: bool = True
    in_main_thread: bool = False
    seed: int | None = None
    recording: Recording | None = None


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split into tdb's own options and the rest: SCRIPT [ARGS...] or -m MODULE [ARGS...], as pdb takes them."""
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "-m" or not word.startswith("-") or word == "-":
            break
        if word == "--":
            return list(arguments[:position]), list(arguments[position + 1 :])
        position += 2 if word in TAKES_VALUE else 1
    return list(arguments[:position]), list(arguments[position:])


def parser() -> argparse.ArgumentParser:
    """Return the parser of tdb's own options."""
    made = argparse.ArgumentParser(
        prog="tdb",
        usage="tdb [options] SCRIPT [ARGS...]\n       tdb [options] -m MODULE [ARGS...]\n       tdb replay FILE",
        description="pdb for PyTorch training: stop at any step, look inside the batch, step again.",
        epilog="At the prompt, `help` lists the commands.",
        allow_abbrev=False,
    )

    class Append(argparse.Action):
        def __call__(
            self, parser: object, namespace: argparse.Namespace, values: object, option: object = None
        ) -> None:
            del parser
            namespace.sources.append((values, option in ("-x", "--execute")))

    made.add_argument("-c", "--command", metavar="CMD", action=Append, help="run a command; may be given again")
    made.add_argument(
        "-x", "--execute", metavar="FILE", action=Append, help="run the commands of a file; may be given again"
    )
    made.add_argument(
        "--json", action="store_true", help="answer in JSON: one object a command on stdout, nothing else"
    )
    made.add_argument("--batch", action="store_true", help="no prompt after -c and -x")
    made.add_argument(
        "--on-error", choices=("stop", "continue"), default="stop", help="what a failing command does to a script"
    )
    made.add_argument(
        "--figures", choices=("auto", "window", "inline", "file", "off"), default="auto", help="where figures go"
    )
    made.add_argument(
        "--training-thread",
        choices=("worker", "main"),
        default="worker",
        help="main: the script keeps the main thread and its signals, the prompt takes another",
    )
    made.add_argument("--nx", action="store_true", help="run no startup files")
    made.add_argument("--version", action="store_true", help="show the version and exit")
    made.set_defaults(sources=[])
    return made


def replay_line(arguments: Sequence[str], *, json: bool, figures: str) -> CommandLine:
    """Return what `tdb replay FILE` asks for, in the environment of the recorded run.

    Raises:
        UsageError: the file cannot be read, or is no recording.
    """
    made = argparse.ArgumentParser(
        prog="tdb replay",
        description="Run a recorded session again, and say whether it came out the same: exit status 0, otherwise 1.",
        epilog="`record FILE` at the prompt records a session.",
        allow_abbrev=False,
    )
    made.add_argument("file", metavar="FILE", help="what `record FILE` has written")
    made.add_argument("--json", action="store_true", default=json, help="answer in JSON")
    options = made.parse_args(arguments)
    path = Path(options.file)
    recording = parse_recording(text_in(path), str(path))
    _enter_environment(recording, arguments)
    origin = recording.origin
    if not origin.is_module and not is_there(Path(origin.target)) and is_there(path.parent / origin.target):
        os.chdir(path.parent)
    return CommandLine(
        origin.target,
        list(origin.arguments),
        origin.is_module,
        json=options.json,
        batch=True,
        figures=figures,
        startup=False,
        seed=origin.seed,
        recording=recording,
    )


def _enter_environment(recording: Recording, arguments: Sequence[str]) -> None:
    """Set the variables of the recorded run, before any library has read them; Python itself may have to begin anew."""
    wanted = dict(recording.origin.environment)
    if recording.origin.threads is not None:
        wanted.setdefault("OMP_NUM_THREADS", str(recording.origin.threads))
    anew = os.environ.get("PYTHONHASHSEED") != wanted.get("PYTHONHASHSEED", os.environ.get("PYTHONHASHSEED"))
    os.environ.update(wanted)
    if anew:
        os.execv(sys.executable, [sys.executable, "-m", "tdb", "replay", *arguments])  # noqa: S606 - this very program
