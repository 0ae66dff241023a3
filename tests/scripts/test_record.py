"""A recorded session, run again: the same, or different at which step and by how much."""

from __future__ import annotations

import json
import re

from tests.scripts.conftest import Place

# Nobody seeds the generators: tdb has to know how they began.
TRAINING = """
    import random
    import sys
    import numpy
    import tdb

    controller = tdb.active_controller()
    rate, noise = 0.1, [random.random() for _ in range(8)]
    loss = 1.0
    for step in range(1, int(sys.argv[1]) + 1):
        loss = loss * (1 - rate) + 0.01 * numpy.random.rand() * noise[step % 8]
        controller.capture_batch([step], loss, step)
        controller.wait_if_paused()
"""

# torch draws another seed in each process that loads it.
UNSEEDED = """
    import torch

    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(12):
        loss = model(torch.randn(16, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

SESSION = """\
alias go step 2
go
record session.tdb
break when loss < 0.5
commands
p loss
end
continue
p no_such_name
rate = 0.5
clear 1
interact
for _ in range(2):
    rate = rate / 2

quit()
continue
"""


def test_a_session_comes_out_the_same_again_and_says_so(place: Place) -> None:
    place.write("train.py", TRAINING)
    status, _, error = place.tdb("--on-error", "continue", "train.py", "40", stdin=SESSION)
    assert (status, "no_such_name" in str(error)) == (1, True)
    recorded = (place.folder / "session.tdb").read_text()
    for line in ("#: script train.py", "#: arguments 40", "step 2", "# failed: p no_such_name", "rate = 0.5"):
        assert line in recorded.splitlines()
    ended = place.tdb("replay", "session.tdb")
    assert (ended.status, ended.error) == (0, "")
    assert ended.out.endswith("\nthe same: 3 checks over 40 steps\n")
    (place.folder / "elsewhere").mkdir()
    place.folder /= "elsewhere"
    assert place.tdb("replay", "../session.tdb").status == 0


def test_a_change_in_the_file_is_a_difference_with_its_step_and_size(place: Place) -> None:
    place.write("train.py", TRAINING)
    place.tdb("train.py", "40", stdin=SESSION.replace("p no_such_name\n", ""))
    path = place.folder / "session.tdb"
    path.write_text(path.read_text().replace("rate = 0.5", "rate = 0.25"))
    ended = place.tdb("--json", "replay", "session.tdb")
    answer = json.loads(ended.out.splitlines()[-1])
    assert (ended.status, answer["cmd"], answer["data"]["same"]) == (1, "replay", False)
    (difference,) = answer["data"]["differences"]
    assert difference["step"] == 40
    assert "it differs by" in difference["what"]


def test_a_recording_that_could_not_be_written_says_so_when_asked_and_is_whole_again(place: Place) -> None:
    lines = "record there/session.tdb\nstep\n!import os, pathlib\n"
    lines += "!os.rename('there', 'away')\nstep\nrecord\nstep\n"
    lines += "!os.rename('away', 'there')\nrecord\n!os.rename('there', 'away')\nstep\n"
    (place.folder / "there").mkdir()
    ended = place.tdb("--on-error", "continue", "loop.py", "40", stdin=lines)
    gone = "cannot write there/session.tdb: No such file or directory"
    told = [line for line in ended.error.splitlines() if gone in line]
    assert [line.split(":")[0] for line in told] == [
        "the session is not recorded",
        "<stdin>",
        "the session is not recorded",
    ]
    assert ended.out.count("recording to there/session.tdb") == 2
    recorded = (place.folder / "away/session.tdb").read_text()
    assert recorded.count("#= stopped step") == 3


def test_what_is_no_recording(place: Place) -> None:
    place.write("other.tdb", "step 5\n")
    place.write("broken.tdb", "#: recording 1\n#: script loop.py\nstep\n#= stopped at last\n")
    for name, words in [
        ("missing.tdb", "cannot read missing.tdb"),
        ("other.tdb", "other.tdb is no recorded session"),
        ("broken.tdb", "broken.tdb:4: a check is such as"),
    ]:
        ended = place.tdb("replay", name)
        assert (ended.status, ended.out) == (2, "")
        assert words in ended.error


def test_a_stop_by_hand_is_recorded_as_the_step_it_came_at(place: Place) -> None:
    lines = "record by_hand.tdb\nuntil 3\ncontinue &\npause\nstep\n"
    place.tdb("loop.py", "1000000000", stdin=lines)
    recorded = (place.folder / "by_hand.tdb").read_text().splitlines()
    stop = recorded[recorded.index("# continue &: stopped by hand") + 1]
    assert stop.startswith("until ")
    ended = place.tdb("replay", "by_hand.tdb")
    assert (ended.status, ended.out.splitlines()[-1].partition(":")[0]) == (0, "the same")


def test_a_script_that_leaves_torch_unseeded_is_taken_back_to_its_own_run_and_replayed(place: Place) -> None:
    place.write("train.py", UNSEEDED)
    lines = ("record session.tdb", "until 9", "goto 4", "until 9", "continue")
    ended = place.tdb("--batch", *(word for line in lines for word in ("-c", line)), "train.py")
    assert ended.status == 0
    assert "re-run: 4 steps from the start; 4 losses and 1 set of metrics as before, bit for bit" in ended.out
    there, back = re.findall(r"> step 9  loss ([\d.]+)", ended.out)
    assert there == back
    replayed = place.tdb("replay", "session.tdb")
    assert replayed.status == 0
    assert replayed.out.endswith("\nthe same: 4 checks over 12 steps\n")
    assert f"> step 9  loss {there}" in replayed.out
