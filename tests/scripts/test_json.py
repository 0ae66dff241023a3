"""`--json`: one object a command."""

from __future__ import annotations

import json
from typing import Any

from tests.scripts.conftest import Ended, Place


def answers(ended: Ended) -> list[dict[str, Any]]:
    """Return the objects on stdout, which must be strict JSON, one a line."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in ended.out.splitlines()]


def test_one_object_a_command(place: Place) -> None:
    typed = (
        "step ;; state\n# a comment\n\np step * 2\np [float('nan'), float('inf'), -float('inf')]\n!loss = 7.0\np loss"
    )
    ended = place.tdb("--json", "loop.py", "5", stdin=typed)
    assert ended.status == 0
    found = answers(ended)
    assert [(each["cmd"], each["ok"]) for each in found] == [
        ("step", True),
        ("state", True),
        ("p", True),
        ("p", True),
        ("python", True),
        ("p", True),
    ]
    assert {each["v"] for each in found} == {1}
    assert all(each["state"] == {"status": "stopped", "step": 1, "epoch": None} for each in found)
    assert {"reason": "step", "step": 1, "epoch": None, "loss": 1.0}.items() <= found[0]["data"].items()
    assert [each["data"]["value"] for each in found[2:]] == [2, ["NaN", "Infinity", "-Infinity"], None, 7.0]


def test_errors(place: Place) -> None:
    ended = place.tdb("--json", "--on-error", "continue", "loop.py", "5", stdin="stepp\nwhere\nwait\nstep x\n")
    assert ended.status == 2
    found = answers(ended)
    assert [each["ok"] for each in found] == [False, True, False, False]
    assert "data" not in found[0]
    assert found[0]["error"] == {
        "code": "usage",
        "message": "unknown command 'stepp' (nor Python)",
        "hint": "Did you mean: step, pystep, state",
    }
    assert found[2]["error"]["code"] == "state"
    assert found[2]["state"] == {"status": "ready", "step": 0, "epoch": None}
    assert found[3]["error"]["message"] == "step takes a number of steps, not 'x'"
    assert [line.partition(" ")[0] for line in ended.error.splitlines()] == ["<stdin>:1:", "<stdin>:3:", "<stdin>:4:"]


def test_the_end_and_a_crash(place: Place) -> None:
    ended = place.tdb("--json", "-c", "continue", "loop.py", "5")
    assert ended.status == 0
    (found,) = answers(ended)
    assert found["state"] == {"status": "finished", "step": 5, "epoch": None}
    assert found["data"]["loss"] == 0.2

    script = place.write("crash.py", (place.folder / "loop.py").read_text().replace("1 / step", "1 / (3 - step)"))
    ended = place.tdb("--json", "-c", "continue", "-c", "p step, $_exception", script, "5")
    assert ended.status == 3
    crash, looked = answers(ended)
    assert crash["state"]["status"] == "crashed"
    assert crash["data"]["error"] == "ZeroDivisionError: division by zero"
    assert looked["data"]["value"] == [3, "division by zero"]


def test_nothing_else_is_written_there(place: Place) -> None:
    loud = (
        "import os, subprocess\n"
        "print('print', flush=True); os.write(1, b'descriptor\\n'); subprocess.run(['echo', 'child'])\n"
        "print('no newline', end='')\n"
    )
    script = place.write("loud.py", loud + (place.folder / "loop.py").read_text())
    typed = "step\n!print('at the prompt')\npipe state | cat\nhelp\nset figures\nhistory\nversion\n"
    ended = place.tdb("--json", script, "5", stdin=typed)
    assert ended.status == 0
    assert len(answers(ended)) == 7
    for text in ("print\n", "descriptor\n", "child\n", "no newline", "at the prompt\n"):
        assert text in ended.error
