"""A shell without a terminal, for tests that read as sessions."""

from __future__ import annotations

import doctest
import io
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.launch import Run
from tdb.script import Script
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.show import Show
from tests.conftest import join

CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class _Text(io.StringIO):
    """Text that can hold any character, and says so, as a terminal of today does."""

    encoding = "utf-8"


class TypingSession:
    """Types lines at a real script in a real worker thread, and reads what is shown."""

    def __init__(self, folder: Path, script: str | Script, *arguments: str, as_json: bool = False) -> None:
        if isinstance(script, str):
            path = folder / "train.py"
            path.write_text(textwrap.dedent(script))
            script = Script(str(path), arguments)
        self.folder = folder
        self.out = _Text()
        self.controller = DebugController()
        self.session = Session(self.controller, all_commands())
        self.session.run = Run(self.controller, script, self.session.main_thread)
        sink = FigureSink("file", folder / "figures", out=self.out, interactive=False)
        show = Show(self.session, sink, self.out, self.out, json=as_json)
        self.interpreter = Interpreter(self.session, show, folder / "tdb.log")

    def type(self, line: str) -> str:
        """Type a line and return what is shown."""
        self.out.seek(0)
        self.out.truncate()
        self.interpreter.execute(line)
        return self.out.getvalue()

    def answer(self, line: str) -> Any:
        """Type a line in JSON mode and return the data of its answer, which must be a success."""
        answer = json.loads(self.type(line))
        assert answer["ok"], answer
        return answer["data"]

    def play(self, transcript: str) -> None:
        """Type the lines that stand after "(tdb) " and compare what is shown; "..." stands for anything."""
        _, *steps = re.split(r"^\(tdb\) ?(.*)$", textwrap.dedent(transcript), flags=re.MULTILINE)
        for line, expected in zip(steps[::2], steps[1::2], strict=True):
            shown = self.type(line)
            same = CHECKER.check_output(expected.strip() + "\n", shown.strip() + "\n", FLAGS)
            assert same, f"after {line!r} expected\n{expected}\nbut saw\n{shown}"

    def close(self) -> None:
        """End training and its thread."""
        self.controller.stop()
        self.controller.gate.dismiss()
        run = self.session.run
        if run is not None and run.started:
            join(run.thread)
