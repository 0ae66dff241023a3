"""Looking around at a stop: displays, frames, post-mortem, checks, and what is saved."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

LOOP = """
    import tdb

    RATE = 0.5


    def half(value):
        if value == 6:
            raise ValueError("six cannot be halved")
        return value / 2


    def train(steps, *names, controller, scale=1.0):
        total = 0.0
        controller.begin()
        for step in range(1, steps + 1):
            total += step * scale * RATE
            if step == crash_at:
                try:
                    half(6)
                except ValueError as error:
                    raise RuntimeError("no step 6") from error
            controller.capture_batch([step], 1 / step, step, epoch=1)
            controller.capture_step_data("totals", {"now": total})
            controller.wait_if_paused()
        return total


    crash_at = {crash_at}
    result = train(12, "a", "b", controller=tdb.active_controller())
"""


def loop(crash_at: int = 0) -> str:
    return LOOP.replace("{crash_at}", str(crash_at))


# ---- displays --------------------------------------------------------------------------------------------------------


def test_displays_are_shown_at_every_stop_with_the_old_value(make_session: Make) -> None:
    make_session(loop()).play("""
        (tdb) display
        nothing is displayed
        (tdb) display loss
        1: loss
        (tdb) step 2
        > step 2 ...
        -> controller.wait_if_paused()
        1: loss = 0.5
        (tdb) display totals.now
        2: totals.now = 1.5
        (tdb) display "-".join(names)
        3: "-".join(names) = 'a-b'
        (tdb) display delta(loss)
        4: delta(loss) = nan
        (tdb) display keys
        5: keys
        ...
        (tdb) undisplay keys
        (tdb) step
        > step 3 ...
        -> controller.wait_if_paused()
        1: loss = 0.3333  (was 0.5)
        2: totals.now = 3  (was 1.5)
        3: "-".join(names) = 'a-b'
        4: delta(loss) = -0.1667  (was nan)
        (tdb) step 2
        > step 5 ...
        -> controller.wait_if_paused()
        1: loss = 0.2  (was 0.3333)
        2: totals.now = 7.5  (was 3)
        3: "-".join(names) = 'a-b'
        4: delta(loss) = -0.05  (was -0.1667)
        (tdb) undisplay 2 9
        *** no display '9'. There are 1 (loss), 2 (totals.now), ...
        (tdb) display 3 ==
        *** display 3 ==
                        ^ the expression ends too early
        (tdb) display loss <
        *** loss cannot use '<'. Example: loss ...
        (tdb) display 1/0
        *** 1/0 cannot be computed: division by zero
        (tdb) display later
        6: later
        no metric, key or variable 'later' in this step. See `keys` and `sources`. It may be captured later
        (tdb) undisplay later
        (tdb) display continue
        *** continue shows nothing of a step. Example: display metrics top 3
        (tdb) undisplay
        (tdb) step
        > step 6 ...
        -> controller.wait_if_paused()
    """)


def test_displays_in_json_are_part_of_the_stop(make_session: Make) -> None:
    session = make_session(loop(), as_json=True)
    session.answer("display loss")
    assert session.answer("step 4")["displays"]["loss"]["value"] == 0.25


def test_sizes_are_shown_as_they_are_typed(make_session: Make) -> None:
    make_session(loop()).play("""
        (tdb) set history.budget 64KiB
        history.budget 64KiB
        (tdb) set history.budget 65537
        history.budget 65537
        (tdb) set checkpoints.budget
        checkpoints.budget 1GiB
        (tdb) set record.every 65536
        record.every 65536
        (tdb) set rekord.every
        *** no setting 'rekord.every'. Did you mean: record.every
    """)


# ---- frames ----------------------------------------------------------------------------------------------------------


def test_up_down_list_and_args_on_the_real_stack(make_session: Make) -> None:
    make_session(loop()).play("""
        (tdb) up
        *** training has not started: `start`, `step` or `continue` begins it
        (tdb) step 2
        > step 2 ...
        (tdb) a
        steps = 12
        controller = <tdb.controller.DebugController object at ...>
        scale = 1.0
        names = ('a', 'b')
        (tdb) list
          20                 ...
        (tdb) list 12 13
          12
          13     def train(steps, *names, controller, scale=1.0):
        (tdb) longlist
          13     def train(steps, *names, controller, scale=1.0):
        ...
        (tdb) u
        > ...train.py(...) <module>
        -> result = train(12, "a", "b", controller=tdb.active_controller())
        (tdb) p total
        *** NameError: name 'total' is not defined
        (tdb) a
        <module> takes no arguments
        (tdb) where
        > step 2 ...train.py(...) <module>
        -> result = train(...
          ...train.py(...) train
        (tdb) up
        *** this is the outermost frame
        (tdb) down
        > ...train.py(...) train
        -> controller.wait_if_paused()
        (tdb) p total
        1.5
        (tdb) up
        > ...
        (tdb) step
        > step 3 ...
        (tdb) p total
        3.0
    """)


def test_list_goes_on_where_it_ended(make_session: Make) -> None:
    session = make_session(loop(), as_json=True)
    session.answer("step")
    around = session.answer("list 9")
    assert (around["first"], len(around["lines"])) == (4, 11)
    after = session.answer("list")
    assert (after["first"], after["first"] <= after["line"]) == (15, True)
    assert "RATE" in session.answer("list 4 4")["lines"][0]
    assert session.answer("list .")["line"] == after["line"] == 25
    assert "the file ends at line 30" in session.type("list 40")


def test_assignments_take_effect_in_the_next_step_and_say_where_they_do_not(make_session: Make) -> None:
    make_session(loop()).play("""
        (tdb) step 2
        > step 2 ...
        (tdb) ! total = 100.0
        (tdb) ! scale = 0.0
        (tdb) step
        > step 3 ...
        (tdb) p total
        100.0
        (tdb) ! scale = 2.0
        (tdb) ! RATE = 7.0
        RATE is no local variable of train: the new value is known at this prompt alone, until training goes on; ...
        (tdb) p RATE
        7.0
        (tdb) step
        > step 4 ...
        (tdb) p RATE
        0.5
        (tdb) p total
        104.0
        (tdb) up
        ...
        (tdb) ! RATE = 10.0
        (tdb) step
        > step 5 ...
        (tdb) p total
        204.0
    """)


def test_what_is_deleted_is_gone_where_python_allows_it(make_session: Make) -> None:
    session = make_session(loop())
    session.play("""
        (tdb) step
        > step 1...
        (tdb) mine = 3
        (tdb) del mine
        (tdb) p mine
        *** NameError: name 'mine' is not defined
        (tdb) del total
        total stays: a local variable of train cannot be deleted here
        (tdb) p total
        0.5
        (tdb) up
        ...
        (tdb) del RATE
        (tdb) p RATE
        *** NameError: name 'RATE' is not defined
    """)


def test_python_that_is_under_way_where_input_ends_is_run(make_session: Make) -> None:
    session = make_session(loop())
    session.type("step 2")
    session.interpreter.lines(["interact", "for i in range(2):", "    print('turn', i)"], "<stdin>")
    assert not session.interpreter.reads
    assert session.interpreter.status == 0
    session.interpreter.lines(["interact", "for i in range(2):", "    seen = [i"], "<stdin>")
    assert "*** SyntaxError: '[' was never closed" in session.out.getvalue()
    assert session.interpreter.status == 1
    assert session.type("p i").strip() == "1"


def test_interact_reads_python_until_it_is_left(make_session: Make) -> None:
    session = make_session(loop())
    session.type("step 2")
    session.type("interact")
    assert session.interpreter.prompt == ">>> "
    assert session.type("total") == "1.5\n"
    session.type("for i in range(2):")
    assert session.interpreter.prompt == "... "
    session.type("    total += i")
    session.type("")
    assert session.type("step") == "2\n"  # Python here, no command
    assert session.type("1 / 0") == "*** ZeroDivisionError: division by zero\n"
    session.type("exit()")
    assert session.interpreter.prompt == "(tdb) "
    session.play("""
        (tdb) step
        > step 3 ...
        (tdb) p total
        4.0
    """)


# ---- post-mortem -----------------------------------------------------------------------------------------------------


def test_a_crash_is_looked_at_where_it_happened_and_through_its_causes(make_session: Make) -> None:
    make_session(loop(crash_at=6)).play("""
        (tdb) continue
        Traceback (most recent call last):
        ...
        ValueError: six cannot be halved
        ...
        RuntimeError: no step 6
        Training crashed after step 5: RuntimeError: no step 6
        (tdb) exceptions
           number  exception
                0  ValueError: six cannot be halved
        >       1  RuntimeError: no step 6
        the last one ended training
        (tdb) p total
        10.5
        (tdb) exceptions 0
        > ...train.py(...) half
        -> raise ValueError("six cannot be halved")
        (tdb) p value
        6
        (tdb) a
        value = 6
        (tdb) p $_exception
        ValueError('six cannot be halved')
        (tdb) exceptions 2
        *** no exception 2. They are 0..1: see `exceptions`
        (tdb) ! value = 8
        value is assigned, but half will not run on: training is over
        (tdb) step
        *** training is over (crashed at step 5): looking commands still work, `quit` leaves
        (tdb) keys
        ...
        (tdb) assert step == 5
    """)


# ---- checks ----------------------------------------------------------------------------------------------------------


def test_assert_says_the_values_that_made_it_false(make_session: Make) -> None:
    make_session(loop()).play("""
        (tdb) assert loss < 1
        *** no step has been taken yet: `step` takes the first
        (tdb) step 4
        > step 4 ...
        (tdb) assert loss < 0.3 and totals.now > 4
        (tdb) assert loss < 0.2
        *** assertion failed at step 4: false: loss = 0.25 < 0.2
        (tdb) assert loss < 0.2 "not converged"
        *** not converged: false: loss = 0.25 < 0.2
        (tdb) assert delta(loss) < 0
        *** delta(loss) < 0 looks back over steps. Ask `find`, or stop there: break when
        (tdb) assert names == ("a", "b")
        (tdb) assert "".join(names) == "ba" "wrong order"
        *** wrong order: false: "".join(names) == "ba"
        (tdb) assert loss < 0.2, "as in Python"
        *** as in Python: false: loss = 0.25 < 0.2
        (tdb) assert "a message alone"
        *** "a message alone" is true whatever training does. Example: assert loss < 0.2 "the loss is too high"
        (tdb) assert (loss < 0.2, "a tuple")
        *** (loss < 0.2, "a tuple") is true whatever training does. ...
        (tdb) assert nosuch > 1
        *** no metric, key or variable 'nosuch' in this step. See `keys` and `sources`
        (tdb) assert loss <
        *** assert loss <
                          ^ the expression ends too early
    """)


@pytest.mark.parametrize(("condition", "succeeds"), [("loss < 0.3", True), ("loss < 0.2", False)])
def test_a_script_of_checks_fails_with_status_1(
    make_session: Make, tmp_path: Path, condition: str, succeeds: bool
) -> None:
    session = make_session(loop())
    check = tmp_path / "check.tdb"
    check.write_text(f'step 4\nassert {condition} "the loss"\nstep\n')
    assert session.interpreter.run_file(check) == succeeds
    assert session.interpreter.status == (0 if succeeds else 1)
    assert session.controller.position.step == (5 if succeeds else 4)
    assert (f"{check}:2: *** the loss: false: loss = 0.25 < 0.2" in session.out.getvalue()) != succeeds


# ---- what lasts ------------------------------------------------------------------------------------------------------

SETUP = """
set record.every 5
alias again step %1
alias twice step;; step
display loss
display keys
break every 4, loss > 0.1
tbreak when loss < 0.2
ignore 2 1
catch spike loss x2
condition 3 step > 3
disable 3
commands 1
p step
again 1
end
"""


def test_what_is_saved_sets_up_another_session_alike(make_session: Make, tmp_path: Path) -> None:
    first = make_session(loop())
    for line in SETUP.strip().splitlines():
        assert "***" not in first.type(line), line
    assert "wrote" in first.type(f"save {tmp_path / 'saved.tdb'}")
    second = make_session(loop())
    second.type(f"source {tmp_path / 'saved.tdb'}")

    def setup(session: TypingSession) -> Any:
        points = session.session.armed.points
        return (
            session.session.settings.changed(),
            session.session.aliases,
            [display.text for display in session.session.displays],
            [(p.text, p.temporary, p.enabled, p.ignored, p.commands, p.stop.kind) for p in points],
        )

    assert setup(first) == setup(second)
    assert setup(first)[3][0][4] == ["p step", "again 1"]
    shown = [session.type("undisplay loss;; continue;; continue") for session in (first, second)]
    assert shown[0] == shown[1]
    assert first.controller.position.step == second.controller.position.step == 9


def test_aliases(make_session: Make) -> None:
    make_session(loop()).play("""
        (tdb) alias
        no aliases
        (tdb) alias to until %1
        to = until %1
        (tdb) to 4
        > step 4 ...
        (tdb) alias to
        to = until %1
        (tdb) alias too
        *** no alias 'too'. Did you mean: to
        (tdb) alias 3x step
        *** '3x' cannot be a name. Example: alias worst metrics sort win_rate asc top 5
        (tdb) unalias to
        (tdb) to 5
        *** unknown command 'to' (nor Python)...
        (tdb) alias here there
        here = there
        (tdb) alias there here
        there = here
        (tdb) here
        *** the alias 'here' leads back to itself. Another meaning: alias here step 10
        (tdb) for i in range(3):
        *** this is the first line of more Python: `interact` reads Python of several lines
        (tdb) rates = [
        *** this is the first line of more Python: `interact` reads Python of several lines
    """)


def test_a_cause_is_shown_at_the_line_that_raised_it(make_session: Make) -> None:
    make_session("""
        def load(step):
            try:
                return {}["missing"]
            except KeyError as error:
                raise RuntimeError(f"step {step} has no data") from error

        load(7)
    """).play("""
        (tdb) continue
        Traceback ...
        (tdb) where
        Traceback ...
        > step 0 ... load
        -> raise RuntimeError(f"step {step} has no data") from error
        (tdb) exceptions 0
        > ...train.py(...) load
        -> return {}["missing"]
        (tdb) list .
        ...->         return {}["missing"]
        ...
    """)


def test_where_in_a_cell_ends_at_the_cell(make_session: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for prompt in ("ps1", "ps2", "ps3"):  # which IPython's shell sets, and leaves so
        monkeypatch.setattr(sys, prompt, getattr(sys, prompt, ""), raising=False)
    cell = """
        import tdb


        def train(controller):
            controller.begin()
            for step in range(1, 9):
                controller.capture_batch([step], 1.0, step)
                controller.wait_if_paused()
                assert step < 5


        train(tdb.active_controller())
    """
    notebook = f"""
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        without_history = Config(HistoryManager={{"enabled": False}})  # a history has a thread, which stays
        InteractiveShell(config=without_history).run_cell({textwrap.dedent(cell)!r}).raise_error()
    """
    session = make_session(notebook)
    session.type("step")
    session.play("""
        (tdb) where
          <ipython-input-...>(12) <module>
        > step 1  loss 1.0000        <ipython-input-...>(8) train
        -> controller.wait_if_paused()
    """)
    session.type("continue")
    assert [frame.f_code.co_name for frame in session.session.stack.frames()] == ["<module>", "train"]
