"""Moving training, as typed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import PATIENCE
from tests.typing_session import TypingSession

LOOP = """
    import sys
    import torch
    import tdb

    torch.manual_seed(0)
    torch.set_num_threads(1)


    class Trainer:
        model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


    def train(steps, controller):
        controller.begin(Trainer)
        for step in range(1, steps + 1):
            images, labels = torch.rand(5, 6), torch.randint(0, 3, (5,))
            loss = torch.nn.functional.cross_entropy(Trainer.model(images), labels)
            Trainer.optimizer.zero_grad()
            loss.backward()
            controller.capture_batch((images, labels), loss, step, epoch=1 + (step - 1) // 10)
            controller.capture_step_data("outputs", lambda: {"probabilities": images.softmax(1), "count": 5})
            Trainer.optimizer.step()
            controller.wait_if_paused()


    train(int(sys.argv[1]), tdb.active_controller())
"""

Make = Callable[..., TypingSession]


def test_step_by_step_to_the_end(make_session: Make) -> None:
    make_session(LOOP, "7").play("""
        (tdb) start
        > step 0        ...train.py(16) train
        -> controller.begin(Trainer)
        (tdb) where
        ...train.py(28) <module>
        > step 0        ...train.py(16) train
        -> controller.begin(Trainer)
        (tdb) step
        > step 1  epoch 1  loss ...        ...train.py(25) train
        -> controller.wait_if_paused()
        (tdb) step 2
        > step 3  epoch 1  loss ...
        (tdb)
        > step 5  epoch 1  loss ...
        (tdb) n
        > step 6  epoch 1  loss ...
        (tdb) step 5
        Training finished after 7 steps
        (tdb) step
        *** training is over (finished at step 7): looking commands still work, `quit` leaves
        (tdb) p 1 + 1
        2
        (tdb) where
        Training finished after 7 steps
        > step 7  epoch 1  loss ...
    """)


def test_step_from_the_first_prompt_stops_at_the_end_of_step_1(make_session: Make) -> None:
    make_session(LOOP, "9").play("""
        (tdb) where
        > train.py has not started
        (tdb) step
        > step 1  epoch 1  loss ...
        (tdb) start
        *** training has started already: `step`, `continue` or `until` goes on
    """)


def test_until_and_continue(make_session: Make) -> None:
    make_session(LOOP, "30").play("""
        (tdb) until 12
        > step 12  epoch 2  loss ...
        (tdb) until 10
        *** step 10 is behind step 12: `goto 10` goes back there
        (tdb) until 12
        *** training stands at step 12 already: `step` takes the next
        (tdb) until loss <
        *** until loss <
                        ^ the expression ends too early
        (tdb) unt 13
        > step 13  epoch 2  loss ...
        (tdb) c
        Training finished after 30 steps
    """)


def test_in_the_background(make_session: Make) -> None:
    session = make_session(LOOP, "1000000")
    session.play("""
        (tdb) continue &
        training runs in the background: `pause` stops it, `wait` waits
        (tdb) step
        *** training is running (step ...): `pause` first, or Ctrl-C
        (tdb) wait 0.05
        *** training still runs after 0.05 s: `pause` stops it
        (tdb) batch
        step ...
        (tdb) pause
        > step ...  epoch ...
        -> controller.wait_if_paused()
        (tdb) pause
        *** training is stopped already: `step` or `continue` goes on
    """)
    stopped_at = session.controller.position.step
    assert session.controller.wait(0.2) == "stopped"
    assert session.controller.position.step == stopped_at


HELD_UP = """
    import threading
    import tdb

    inside, goes_on = threading.Event(), threading.Event()
    controller = tdb.active_controller()
    for step in controller.steps(range(1, 10)):
        if step == 3:
            inside.set()
            goes_on.wait()
"""


def test_what_a_long_step_kept_from_being_done_is_not_done_later(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tdb.session.PEEK_SECONDS", 0.1)
    session = make_session(HELD_UP)
    session.type("step")
    script = vars(session.session.run.module)
    session.type("continue &")
    assert script["inside"].wait(PATIENCE)
    session.play("""
        (tdb) break 5
        *** training did not reach the end of a step: `where` shows what it is doing
    """)
    script["goes_on"].set()
    session.play("""
        (tdb) wait
        Training finished after 9 steps
        (tdb) break
        no stop points
    """)


def test_only_these_repeat_on_an_empty_line(make_session: Make) -> None:
    repeating = {command.name for command in make_session(LOOP, "50").session.registry if command.repeats}
    assert repeating <= {"step", "next", "phase", "until", "metrics", "display", "where", "p"}
    assert {"step", "next", "until", "metrics", "where", "p"} <= repeating


def test_continue_and_quit_never_repeat(make_session: Make) -> None:
    session = make_session(LOOP, "50")
    session.type("until 5")
    session.type("state")
    assert session.type("") == ""
    assert session.controller.position.step == 5


def test_a_crash_stops_in_post_mortem(make_session: Make) -> None:
    crashing = LOOP.replace("Trainer.optimizer.step()", "Trainer.optimizer.step() if step != 3 else 1 / 0")
    make_session(crashing, "9").play("""
        (tdb) continue
        Traceback (most recent call last):
        ...
        ZeroDivisionError: division by zero
        Training crashed after step 2: ZeroDivisionError: division by zero
        (tdb) p step
        3
        (tdb) p images.shape
        torch.Size([5, 6])
        (tdb) step
        *** training is over (crashed at step 2): looking commands still work, `quit` leaves
        (tdb) p $_exception
        ZeroDivisionError('division by zero')
    """)


def test_an_exception_that_says_nothing_is_its_type(make_session: Make) -> None:
    session = make_session(LOOP.replace("Trainer.optimizer.step()", "assert step != 2"), "9")
    assert session.type("continue").endswith("\nTraining crashed after step 1: AssertionError\n")


def test_a_script_that_never_asks_for_the_controller(make_session: Make) -> None:
    make_session("print('nothing here')").play("""
        (tdb) step
        Training finished without a step that tdb could see: nothing was updated, and no gradients were computed
    """)


def test_a_script_that_leaves_with_a_status(make_session: Make) -> None:
    session = make_session("import sys; sys.exit(5)")
    session.play("""
        (tdb) continue
        Training finished without a step: the script left with exit status 5
    """)
    assert session.session.run is not None
    assert session.session.run.exit_code == 5


def test_a_loss_of_any_size_is_told_from_zero(make_session: Make) -> None:
    make_session("""
        import tdb

        controller = tdb.active_controller()
        controller.begin()
        for step, loss in enumerate([0.25, 0.00031416, 1.5e-9, 0.0, 2.5e12], 1):
            controller.capture_batch([step], loss, step)
            controller.wait_if_paused()
    """).play("""
        (tdb) step
        > step 1  loss 0.2500 ...
        (tdb) step
        > step 2  loss 0.0003142 ...
        (tdb) step
        > step 3  loss 1.5e-09 ...
        (tdb) step
        > step 4  loss 0.0000 ...
        (tdb) step
        > step 5  loss 2.5e+12 ...
    """)
