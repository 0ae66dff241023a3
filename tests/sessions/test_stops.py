"""Stop points in real sessions: where they stop training is where a hand-written check in the loop would."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules import module as torch_modules

import tdb
from bcl import attach_bcl
from recipes import data
from recipes.conditions import CONDITIONS
from recipes.gradient_gating_l0 import main
from recipes.model import LinearAutoencoder
from recipes.trainer import Trainer
from recipes.training import LAYER
from tdb.script import Script
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]
STEPS = 50
USERS_LINE = "break when win_rate[31]<0.01"

# ---- the user's own line ---------------------------------------------------------------------------------------------


def recipe(condition: str, steps: int = STEPS) -> Script:
    return Script("recipes.gradient_gating_l0", ("--condition", condition, "--steps", str(steps)), is_module=True)


def steps_by_hand(condition: str, feature: int) -> list[int]:
    """Train without tdb, with the check written into the loop; return the steps at which it became true."""
    torch.set_num_threads(1)
    digits = data.load(None, False)
    torch.manual_seed(0)
    model = LinearAutoencoder(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    bcl = attach_bcl(model, LAYER, CONDITIONS[condition])
    trainer = Trainer(model, optimizer, data.batches(digits.train, 128, 0))
    holds: list[bool] = []
    trainer.train(STEPS, on_step=lambda _step: holds.append(bcl.get_step_metrics()["win_rate"][feature].item() < 0.01))
    return [step for step, now in enumerate(holds, 1) if now and not (step > 1 and holds[step - 2])]


def steps_stopped_at(session: TypingSession) -> list[int]:
    """Continue to the end, and return where training stopped on the way."""
    steps = []
    while True:
        session.type("continue")
        if session.controller.get_state()["status"] != "stopped":
            return steps
        steps.append(session.controller.position.step)


@pytest.mark.parametrize("condition", ["bcl-slow", "bcl-med"])
def test_the_users_line_stops_where_a_check_in_the_loop_does(make_session: Make, condition: str) -> None:
    by_hand = steps_by_hand(condition, 31)
    assert by_hand, "the test needs a feature that dies"

    typed = make_session(recipe(condition))
    typed.type(USERS_LINE)
    assert steps_stopped_at(typed) == by_hand

    file = typed.folder / "watchdog.tdb"
    file.write_text(f"# stop when feature 31 dies\n{USERS_LINE}\n" + "continue\n" * len(by_hand))
    sourced = make_session(recipe(condition))
    assert sourced.interpreter.source(file)
    assert sourced.controller.position.step == by_hand[-1]

    with tdb.run("recipes.gradient_gating_l0", recipe(condition).arguments, module=True) as session:
        session.break_("when win_rate[31]<0.01")
        stops = [session.cont() for _ in by_hand]
        assert [stop["step"] for stop in stops] == by_hand
        assert re.match(r"Breakpoint 1 at step \d+: win_rate\[31\] = 0\.00\d+ < 0\.01", stops[0]["reason"])
        assert stops[0]["stop_points"][0]["number"] == 1


def test_without_the_metric_the_line_is_taken_with_a_note(make_session: Make) -> None:
    make_session(recipe("control", 12)).play("""
        (tdb) break when win_rate[31]<0.01
        Breakpoint 1, when win_rate[31]<0.01
        (tdb) step
        ...
        Breakpoint 1: waits for 'win_rate', which has no value yet: see keys and sources
        (tdb) break when win_rate[31]<0.01
        Breakpoint 2, when win_rate[31]<0.01
        no metric, key or variable 'win_rate'. It may be captured later
        (tdb) continue
        Training finished after 12 steps
    """)


def test_without_the_metric_a_file_and_a_program_are_told_as_well(make_session: Make) -> None:
    note = "Breakpoint 1: waits for 'win_rate', which has no value yet: see keys and sources"
    sourced = make_session(recipe("control", 12))
    file = sourced.folder / "watchdog.tdb"
    file.write_text(f"{USERS_LINE}\nstep\ncontinue\n")
    assert sourced.interpreter.source(file)
    assert note in sourced.out.getvalue()
    assert sourced.controller.position.step == 12

    with tdb.run("recipes.gradient_gating_l0", recipe("control", 12).arguments, module=True) as session:
        session.break_("when win_rate[31]<0.01")
        session.step()
        assert session.notes == [note]
        assert session.cont()["step"] == 12


def test_a_name_that_is_nearly_a_metric_is_told_of_before_the_first_step(make_session: Make) -> None:
    make_session(recipe("bcl-slow", 12)).play("""
        (tdb) start
        ...
        (tdb) break when wn_rate[31] < 0.01
        Breakpoint 1, when wn_rate[31] < 0.01
        no metric, key or variable 'wn_rate'. Did you mean: win_rate. It may be captured later
        (tdb) break when win_rate[31] < 0
        Breakpoint 2, when win_rate[31] < 0
        (tdb) break when bcl_metrics.win_rate[31] < 0
        Breakpoint 3, when bcl_metrics.win_rate[31] < 0
    """)


# ---- each kind against a loop ----------------------------------------------------------------------------------------

SERIES = """
    import math
    import tdb

    controller = tdb.active_controller()


    def loss_at(step):
        if step in (120, 121, 200):
            return math.nan
        return 2 + math.sin(step / 7) + (9 if step % 61 == 0 else 0) if step < 230 else 1.5


    controller.begin()
    for step in range(1, 301):
        controller.capture_batch([step], loss_at(step), step, epoch=1 + (step - 1) // 40)
        controller.capture_step_data("rates", {"odd": step % 2, "decade": step // 10})
        controller.wait_if_paused()
"""


def losses() -> list[float]:
    namespace: dict[str, Any] = {}
    exec(
        re.search(r"def loss_at.*?1\.5\n", SERIES.replace("\n    ", "\n"), re.DOTALL)[0],  # type: ignore[index]
        {"math": __import__("math")},
        namespace,
    )
    return [float("nan"), *(namespace["loss_at"](step) for step in range(1, 301))]


LOSS = losses()


def becomes(holds: Callable[[int], bool]) -> list[int]:
    return [step for step in range(1, 301) if holds(step) and not (step > 1 and holds(step - 1))]


def spikes(factor: float) -> list[int]:
    def is_spike(step: int) -> bool:
        past = [loss for loss in LOSS[1:step] if loss == loss][-20:]
        return len(past) >= 5 and LOSS[step] > factor * sorted_median(past)

    return becomes(is_spike)


def sorted_median(values: list[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def plateaus(patience: int) -> list[int]:
    lowest = highest = LOSS[1]
    waited, found = 0, []
    for step in range(2, 301):
        loss = LOSS[step]
        if loss < lowest - 1e-4 * abs(lowest) or loss > highest + 1e-4 * abs(highest):
            lowest, highest, waited = min(lowest, loss), max(highest, loss), 0
        else:
            waited += 1
        if waited == patience:
            found.append(step)
    return found


KINDS: dict[str, list[int]] = {
    "break 17": [17],
    "break +17": [17],
    "tbreak when loss > 2.5": becomes(lambda step: LOSS[step] > 2.5)[:1],
    "break epoch 3": [81],
    "break every 70": [70, 140, 210, 280],
    "break when loss > 2.5": becomes(lambda step: LOSS[step] > 2.5),
    "break while loss > 10": [step for step in range(1, 301) if LOSS[step] > 10],
    "break changed epoch": [41, 81, 121, 161, 201, 241, 281],
    "break changed rates.decade": list(range(10, 301, 10)),
    "break while rates.odd == 1 and step > 290": [291, 293, 295, 297, 299],
    "break when loss > prev(loss) + 5": becomes(lambda step: step > 1 and LOSS[step] > LOSS[step - 1] + 5),
    "break when crosses(loss, 2)": becomes(
        lambda step: step > 1 and (LOSS[step - 1] < 2 <= LOSS[step] or LOSS[step - 1] > 2 >= LOSS[step])
    ),
    "break every 70, loss > 2": [step for step in (70, 140, 210, 280) if LOSS[step] > 2],
    "catch nan loss": [120, 200],
    "catch nan": [120, 200],
    "catch spike loss x3": spikes(3),
    "catch plateau loss 60": plateaus(60),
}


@pytest.mark.parametrize("line", KINDS)
def test_each_kind_stops_where_a_loop_over_the_series_says(make_session: Make, line: str) -> None:
    assert KINDS[line], "the test needs something to stop at"
    session = make_session(SERIES)
    assert "***" not in session.type(line)
    assert steps_stopped_at(session) == KINDS[line]


MODEL = """
    import sys
    import torch
    import tdb

    torch.manual_seed(0)
    torch.set_num_threads(1)


    class Careful(torch.optim.SGD):
        def step(self, closure=None):  # leaves out the updates of steps 60 and 90, whose gradients are no numbers
            if all(weight.grad.isfinite().all() for group in self.param_groups for weight in group["params"]):
                super().step(closure)


    class Trainer:
        model = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.ReLU(inplace=True), torch.nn.Dropout(0.1), torch.nn.Linear(8, 3)
        )
        optimizer = Careful(model.parameters(), lr=0.05, momentum=0.9)


    found = {name: [] for name in ("nan grads", "inf activations", "nan weights", "frozen", "vanishing", "exploding")}
    controller = tdb.active_controller()
    if controller is not None:
        controller.begin(Trainer)
    model, optimizer = Trainer.model, Trainer.optimizer
    for step in range(1, 201):
        images, labels = torch.rand(16, 6), torch.randint(0, 3, (16,))
        if step == 60:
            images[3, 2] = torch.inf
        outputs = model(images)
        if step == 60:
            outputs = torch.where(outputs.isfinite(), outputs, outputs.new_zeros(()))
        loss = torch.nn.functional.cross_entropy(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 90:
            model[3].bias.grad[1] = torch.nan
        if controller is not None:
            controller.capture_batch((images, labels), loss, step, epoch=1)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        found["nan grads"] += [step] if any(weight.grad.isnan().any() for weight in model.parameters()) else []
        for group in optimizer.param_groups:
            group["lr"] = {70: 0.0, 71: 0.0, 110: 1e-6, 130: 40.0}.get(step, 0.05)
        optimizer.step()
        if step == 150:
            model[0].weight.data[2, 1] = torch.nan
        if step == 151:
            model[0].weight.data[2, 1] = 0.1
        changes = {name: (weight.detach() - before[name]) for name, weight in model.named_parameters()}
        found["frozen"] += [step] if any(not change.bool().any() for change in changes.values()) else []
        ratios = [changes[name].norm() / before[name].norm() for name in changes if changes[name].dim() == 2]
        found["vanishing"] += [step] if any(0 < ratio < 1e-6 for ratio in ratios) else []
        found["exploding"] += [step] if any(not ratio <= 0.1 for ratio in ratios) else []
        found["nan weights"] += [step] if any(weight.isnan().any() for weight in model.parameters()) else []
        found["inf activations"] += [step] if step == 60 else []
        optimizer.zero_grad()
        if controller is not None:
            controller.wait_if_paused()
"""


@pytest.mark.parametrize("event", ["nan grads", "inf activations", "nan weights", "frozen", "vanishing", "exploding"])
def test_each_event_stops_where_the_loop_itself_says(make_session: Make, event: str) -> None:
    session = make_session(MODEL)
    session.type(f"catch {event}")
    stopped = steps_stopped_at(session)
    assert session.session.run is not None
    assert session.session.run.error is None, session.session.run.error
    noted = vars(session.session.run.module)["found"][event]
    begins = [step for step in noted if step - 1 not in noted]
    assert begins, "the test needs something to stop at"
    assert stopped == begins
    assert not torch_modules._global_forward_hooks, "the loop has ended with its hooks on"


def test_a_catch_says_which_tensor_which_entries_and_how_many(make_session: Make) -> None:
    make_session(MODEL).play("""
        (tdb) catch nan weights
        Catchpoint 1, nan weights
        (tdb) catch nan grads
        Catchpoint 2, nan grads
        (tdb) continue
        Catchpoint 2 at step ...: nan in grads of ...
        > step ...
        ...
        (tdb) clear 2
        removed: 2
        (tdb) continue
        Catchpoint 1 at step 150: nan in weights of 0.weight: 1 of 48 entries, first at [2, 1]
        ...
        (tdb) catch nan weights
        Catchpoint 3, nan weights
        it is so at this very step: nan in weights of 0.weight: 1 of 48 entries, first at [2, 1]
    """)


def test_dead_counts_the_features_that_the_status_calls_dead(make_session: Make) -> None:
    session = make_session(recipe("bcl-slow"), as_json=True)
    session.answer("catch dead 0.5")
    stop = session.answer("continue")
    assert "features are dead, at least a share of 0.5" in stop["reason"]
    assert session.answer("metrics")["status"].count("dead") >= 32
    assert session.answer("assert sum(dead) >= 32")


# ---- living with stop points -----------------------------------------------------------------------------------------


def test_a_new_stop_point_is_tried_at_once(make_session: Make) -> None:
    make_session(SERIES).play("""
        (tdb) step 3
        > step 3 ...
        (tdb) break when loss > 2
        Breakpoint 1, when loss > 2
        it is so at this very step: loss = 2.416 > 2
        (tdb) b when loss > 3
        Breakpoint 2, when loss > 3
        not so at step 3: loss = 2.416 > 3
        (tdb) b when rates.odd[0] > 3
        *** b when rates.odd[0] > 3
                            ^ rates.odd is a single number: it has no axis 0
        (tdb) b 2
        Breakpoint 3, step 2
        step 2 is behind step 3: `reverse-continue` stops there, `goto 2` goes there
        (tdb) b train.py:88
        *** tdb stops after whole steps, not at the line train.py:88. A step is the unit here: ...
    """)


ONCE = """
import tdb
import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in model], lr=0.01)
controller = tdb.attach(model, optimizer, step=0)
for step, x in enumerate(controller.steps([torch.randn(8, 4) for _ in range(6)]), 1):
    if step == 3:
        HAPPENS
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
"""


def test_a_new_stop_point_that_cannot_be_computed_is_not_said_to_hold(make_session: Make) -> None:
    session = make_session(MODEL)
    session.type("step")
    said = session.type("break when grad > 5")
    assert "it cannot be told at this step: grad > 5 gives an array of shape [" in said
    assert "it is so" not in said


@pytest.mark.parametrize(
    ("happens", "event"),
    [
        ("x[0, 0] = float('inf')", "nan activations"),
        ("x[0, 0] = float('inf')", "inf activations"),
        ("x[0, 0] = float('inf')", "nan grads"),
        ("x[0, 0] = float('inf')", "nan weights"),
        ("optimizer.param_groups[0]['lr'] = 1e3", "exploding"),
        ("optimizer.param_groups[1]['lr'] = 3e-7", "vanishing"),
        ("optimizer.param_groups[0]['lr'] = 0", "frozen"),
    ],
)
def test_an_event_is_tried_at_once_and_says_what_one_set_before_would_have_seen(
    happens: str, event: str, make_session: Make
) -> None:
    script = ONCE.replace("HAPPENS", happens)
    before = make_session(script, as_json=True)
    before.answer(f"catch {event}")
    stopped_at = steps_stopped_at(before)
    before.close()
    for step in (2, 3):
        session = make_session(script, as_json=True)
        session.answer(f"step {step}")
        assert session.answer(f"catch {event}")["would_hit"] == (step in stopped_at)
        session.close()
    assert 3 in stopped_at


def test_list_condition_ignore_disable_and_clear(make_session: Make) -> None:
    make_session(SERIES).play("""
        (tdb) break
        no stop points
        (tdb) b every 20
        Breakpoint 1, every 20
        (tdb) tbreak 10
        Breakpoint 2, temporary, step 10
        (tdb) p $_bpnum
        2
        (tdb) condition 1 loss <
        *** condition 1 loss <
                              ^ the expression ends too early
        (tdb) condition 1 loss < 2
        Breakpoint 1, every 20, loss < 2
        (tdb) ignore 1 1
        the next hit is passed over at stop point 1
        (tdb) continue
        Breakpoint 2 at step 10
        > step 10 ...
        ...
        (tdb) continue
        Breakpoint 1 at step 80: every 20 and loss = 1.092 < 2 (hit 2)
        > step 80 ...
        ...
        (tdb) break
        number  type   keep  enabled  hits  ignore  stop                commands  waits for
             1  break  yes   yes         2       0  every 20, loss < 2
        (tdb) tbreak 1000
        Breakpoint 3, temporary, step 1000
        (tdb) break
        number  type   keep  enabled  hits  ignore  stop                commands  waits for
             1  break  yes   yes         2       0  every 20, loss < 2
             3  break  no    yes         0       0  step 1000
        (tdb) clear 3
        removed: 3
        (tdb) disable 1
        disabled: 1
        (tdb) enable 7
        *** no stop point 7. Set: 1
        (tdb) clear x
        *** clear takes the number of a stop point, not 'x': `break` lists them
        (tdb) clear 1
        removed: 1
        (tdb) continue
        Training finished after 300 steps
    """)


def test_commands_run_at_the_stop_and_silent_hides_it(make_session: Make) -> None:
    session = make_session(SERIES)
    session.play("""
        (tdb) b 5
        Breakpoint 1, step 5
        (tdb) commands
        (tdb) p step * 2
        (tdb) b 8
        (tdb) end
        (tdb) continue
        Breakpoint 1 at step 5
        > step 5 ...
        ...
        10
        Breakpoint 2, step 8
        (tdb) commands 2;; silent;; p step;; step;; p 'never run';; end
        (tdb) c
        8
        > step 9 ...
        ...
    """)
    assert session.interpreter.prompt == "(tdb) "
    session.type("commands 1")
    assert session.interpreter.prompt == "(com) "
    session.interpreter.abandon()
    assert session.session.armed.points.get(1).commands == ["p step * 2", "b 8"]


def test_thousands_of_stops_that_go_on_by_themselves(make_session: Make) -> None:
    session = make_session(SERIES.replace("301", "3001"))
    session.type("b while step > 0;; commands;; silent;; continue;; end")
    session.type("continue")
    assert session.session.armed.points.get(1).hits == 3000
    assert session.session.status == "finished"


def test_a_stop_at_the_last_step_is_over_when_training_has_finished(make_session: Make) -> None:
    make_session(SERIES).play("""
        (tdb) b 300;; commands;; silent;; p step;; continue;; end
        Breakpoint 1, step 300
        (tdb) continue
        300
        Training finished after 300 steps
    """)


def test_until_an_expression_and_return(make_session: Make) -> None:
    make_session(SERIES).play("""
        (tdb) until loss > 2.9
        until at step 8: loss = 2.91 > 2.9
        > step 8 ...
        ...
        (tdb) until loss > 10
        until at step 61: loss = 11.65 > 10
        > step 61 ...
        ...
        (tdb) return
        return from epoch 2
        > step 81  epoch 3 ...
        ...
        (tdb) b 90
        Breakpoint 1, step 90
        (tdb) until 95
        Breakpoint 1 at step 90
        ...
        (tdb) continue
        Training finished after 300 steps
    """)


def test_detach_runs_to_the_end(make_session: Make) -> None:
    session = make_session(SERIES)
    session.play("""
        (tdb) b every 10
        Breakpoint 1, every 10
        (tdb) step
        > step 1 ...
        (tdb) detach
        Training finished after 300 steps
    """)
    assert session.session.armed.points.get(1).hits == 0


def test_an_expression_that_fails_while_training_runs_stops_there_and_says_so(make_session: Make) -> None:
    make_session(SERIES).play("""
        (tdb) b when rates.odd[step] > 0
        Breakpoint 1, when rates.odd[step] > 0
        (tdb) continue
        Breakpoint 1 at step 1: rates.odd[step] > 0 cannot be computed: ... `disable 1` passes over it
        > step 1 ...
        ...
        (tdb) disable 1;; continue
        disabled: 1
        Training finished after 300 steps
    """)


def test_nan_is_noted_once_and_points_to_catch(make_session: Make) -> None:
    session = make_session(SERIES)
    session.type("b when loss < -5")
    assert session.type("until 119").count("NaN") == 0
    assert "can never become true while a value in it is NaN: see catch nan" in session.type("until 120")
    assert "NaN" not in session.type("continue")


def test_stop_points_are_queued_while_training_runs(make_session: Make) -> None:
    session = make_session(SERIES.replace("301", "10_000_000"))
    session.type("step")  # now it has begun
    session.type("continue &")
    assert re.search(
        r"Breakpoint 1, every 50000\n.*in force from step \d+ on", session.type("b every 50000"), re.DOTALL
    )
    assert "Breakpoint 1 at step" in session.type("wait")
    assert session.controller.position.step % 50000 == 0


def test_an_exception_is_caught_by_its_type(make_session: Make) -> None:
    make_session("""
        import tdb

        controller = tdb.active_controller()
        controller.begin()
        for step in range(1, 9):
            controller.capture_batch([step], 1.0, step)
            if step == 4:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            controller.wait_if_paused()
    """).play("""
        (tdb) catch exception ValueError
        Catchpoint 1, exception ValueError
        (tdb) catch exception RuntimeError
        Catchpoint 2, exception RuntimeError
        (tdb) catch oom;; commands;; p step + 1;; end
        Catchpoint 3, oom
        (tdb) continue
        Traceback (most recent call last):
        ...
        Catchpoint 2 after step 3: RuntimeError: CUDA out of memory. Tried to allocate 2 GiB
        Catchpoint 3 after step 3: RuntimeError: CUDA out of memory. Tried to allocate 2 GiB
        Training crashed after step 3: ...
        5
        (tdb) catch exception 3
        *** '3' is no type of exception. Example: catch exception RuntimeError
    """)


@pytest.mark.parametrize(
    ("lines", "status"),
    [(["catch spike loss", "continue"], 4), (["break 5", "continue"], 0), (["catch spike loss", "assert 1 < 0"], 1)],
)
def test_a_script_that_ends_at_a_catchpoint_has_a_status_of_its_own(
    tmp_path: Path, run_with_torch: Callable[..., subprocess.CompletedProcess[str]], lines: list[str], status: int
) -> None:
    (tmp_path / "train.py").write_text(SERIES.replace("\n    ", "\n"))
    (tmp_path / "check.tdb").write_text("\n".join(lines))
    ended = run_with_torch("-m", "tdb", "--nx", "-x", "check.tdb", "train.py")
    assert ended.returncode == status, ended.stdout + ended.stderr


# ---- neutrality ------------------------------------------------------------------------------------------------------

NEVER = [
    "b when win_rate[31] < -1",
    "b while any(update_ratio > 1e9) or any(mean_activation > 1e9)",
    "b when bcl_metrics.mean_novelty > 1e9 and delta(loss) > 1e9",
    "b when norm(som_targets)[3] > 1e9",
    "b changed 0 * step",
    "b epoch 99",
    "catch nan",
    "catch inf",
    "catch spike loss x1000",
    "catch exploding 1e9",
    "catch vanishing 1e-30",
    "catch frozen 99",
    "catch dead 1",
    "display win_rate[3]",
    "display ema(loss, 10)",
]


def test_stop_points_that_never_hit_change_nothing(make_session: Make, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    arguments = ("--steps", "40", "--save")
    main([*arguments, str(tmp_path / "plain.safetensors")])
    script = Script("recipes.gradient_gating_l0", (*arguments, str(tmp_path / "armed.safetensors")), is_module=True)
    session = make_session(script)
    for line in NEVER:
        assert "***" not in session.type(line), line
    session.type("step 3")
    assert "Training finished after 40 steps" in session.type("continue")
    assert (tmp_path / "armed.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_nothing_is_captured_for_what_needs_no_capture(make_session: Make) -> None:
    session = make_session(recipe("bcl-slow"))
    session.type("step 2")
    session.type("b when win_rate[31] < -1 and loss < -1")
    armed = session.session.armed
    assert not armed.may_stop(3)
    session.type("b when update_ratio[3] > 1e9")
    assert armed.may_stop(3)
    session.type("clear 2;; b 7")
    assert [step for step in range(3, 20) if armed.may_stop(step)] == [7]


# ---- what a rule gives entry by entry -----------------------------------------------------------------------------

RULE = """
    import tdb
    from tdb.panel import Panel

    asked = []


    def tensors(names=("cheap", "dear")):
        asked.append((step, *names))
        return {name: [step] for name in names if name in ("cheap", "dear")}


    controller = tdb.active_controller()
    controller.add_panel(Panel("rule", "", dict, (), step_data={"tensors": tensors}))
    controller.begin()
    for step in range(1, 21):
        controller.capture_batch([step], 1 / step, step, epoch=1)
        controller.wait_if_paused()
"""


def test_a_condition_on_an_entry_has_a_rule_compute_that_entry_alone(make_session: Make) -> None:
    session = make_session(RULE)
    session.play("""
        (tdb) break when tensors.cheap[0] == 4
        Breakpoint 1, when tensors.cheap[0] == 4
        (tdb) continue
        Breakpoint 1 at step 4: tensors.cheap[0] = 4 == 4
        ...
        (tdb) p asked[:4], {name for _, *names in asked for name in names}
        ([(1, 'cheap'), (2, 'cheap'), (3, 'cheap'), (4, 'cheap')], {'cheap'})
        (tdb) data tensors.dear
        ...
        (tdb) p asked[-1]
        (4, 'cheap', 'dear')
        (tdb) break when tensors.chap[0] == 4
        Breakpoint 2, when tensors.chap[0] == 4
        no metric, key or variable 'tensors.chap'. Did you mean: tensors.cheap, tensors.dear. It may be captured later
    """)
