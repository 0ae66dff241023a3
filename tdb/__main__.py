"""The command line: `tdb [options] SCRIPT [ARGS...]`, `tdb [options] -m MODULE [ARGS...]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tdb.command_line import CommandLine, parser, replay_line, split
from tdb.errors import INTERRUPTED_STATUS, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tdb and return the exit status."""
    _open_closed_streams()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # the shell does not listen yet, and nothing of the script has run
        return INTERRUPTED_STATUS


def _run(arguments: Sequence[str]) -> int:
    own, rest = split(arguments)
    made = parser()
    options = made.parse_args(own)
    if options.version:
        from tdb import __version__

        print(f"tdb {__version__}")  # noqa: T201 - the answer
        return 0
    if rest[:1] == ["replay"] and not Path("replay").exists():
        return _replay(rest[1:], json=options.json, figures=options.figures)
    is_module = rest[:1] == ["-m"]
    rest = rest[is_module:]
    if not rest:
        made.error("a SCRIPT or -m MODULE is needed; see tdb --help")
    from tdb.shell.start import debug, is_terminal

    if options.batch and not options.sources and is_terminal(sys.stdin):
        made.error("--batch leaves out the prompt, and there is nothing else to run: give -c, -x or a file as stdin")
    line = CommandLine(
        rest[0],
        rest[1:],
        is_module,
        options.sources,
        options.json,
        options.batch and bool(options.sources),  # what is piped in is all there is to run, otherwise
        options.on_error == "continue",
        options.figures,
        not options.nx,
        options.training_thread == "main",
    )
    return debug(line)


def _open_closed_streams() -> None:
    """Give a stream that whoever started tdb has closed a place to write to; nobody will read it."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            if descriptor == number:
                os.set_inheritable(number, True)  # a process that takes the run back has the same streams
            else:  # the next file that is opened must not take its place
                os.dup2(descriptor, number)
            setattr(sys, name, os.fdopen(number, "w"))


def _replay(arguments: Sequence[str], *, json: bool, figures: str) -> int:
    try:
        line = replay_line(arguments, json=json, figures=figures)
    except UsageError as error:
        print(f"*** {error}", file=sys.stderr)  # noqa: T201 - before there is anything to show with
        return error.exit_status
    from tdb.shell.start import debug

    return debug(line)


if __name__ == "__main__":
    sys.exit(main())
