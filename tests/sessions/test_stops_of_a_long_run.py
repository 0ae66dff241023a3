"""Every kind of stop point at once over two thousand steps of a real training loop, against plain Python loops."""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from tests.typing_session import TypingSession

STEPS = 2000

LOOP = """
    import random
    import torch
    import tdb
    from tdb.panel import Panel, StatusRule

    torch.manual_seed(0)
    torch.set_num_threads(1)
    chance = random.Random(0)
    first, act, second = torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    model = torch.nn.Sequential(first, act, second)
    teacher = torch.randn(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    win_rate = torch.full((8,), 0.2)


    class Training:
        pass


    Training.model, Training.optimizer = model, optimizer
    controller = tdb.active_controller()
    controller.focus_on("0")
    status = StatusRule("win_rate", 0.1, 2)
    controller.add_panel(Panel("wins", "0", lambda: {"win_rate": win_rate}, ["win_rate"], status))
    controller.begin(Training)
    log, until = [], 0
    for step in range(1, 2001):
        if step >= until:
            trouble = chance.choice(["", "", "still", "small", "large", "high", "inputs", "grads", "weights", "dead"])
            until = step + chance.randint(1, 12)
        before = [weight.detach().clone() for weight in model.parameters()]
        if not second.weight.isfinite().all():
            second.weight.data[1, 2] = 0.1
        optimizer.zero_grad()
        inputs = torch.randn(16, 6)
        if trouble == "inputs":
            inputs[3, 2] = torch.inf
        labels = (inputs.nan_to_num(0, 0) @ teacher).argmax(1)
        hidden = first(inputs)
        active = act(hidden)
        outputs = second(active)
        loss = torch.nn.functional.cross_entropy(outputs, labels) * (4 if trouble == "high" else 1)
        loss.backward()
        if trouble == "grads":
            second.bias.grad[1] = torch.nan
        epoch = 1 + (step - 1) // 300
        win_rate.add_(0.02 * torch.randn(8)).clamp_(0.02, 0.4)
        if trouble == "dead":
            win_rate[:5] = 0.05
        controller.capture_batch((inputs, labels), loss, step, epoch=epoch)
        controller.capture_step_data("counts", {"decade": step // 10})
        optimizer.param_groups[0]["lr"] = {"still": 0.0, "small": 1e-7, "large": 3.0}.get(trouble, 0.05)
        if all(weight.grad.isfinite().all() for weight in model.parameters()):
            optimizer.step()
        if trouble == "weights":
            second.weight.data[1, 2] = torch.nan
        log.append({
            "epoch": epoch,
            "loss": loss.item(),
            "win_rate": win_rate.tolist(),
            "activations": [x.flatten().tolist() for x in (hidden, active, outputs)],
            "grads": [weight.grad.flatten().tolist() for weight in model.parameters()],
            "weights": [weight.flatten().tolist() for weight in model.parameters()],
            "before": [weight.flatten().tolist() for weight in before],
        })
        controller.wait_if_paused()
"""

Log = list[dict[str, Any]]
Holds = Callable[[Log, int], bool]


def loss(log: Log, t: int) -> float:
    return float(log[t]["loss"])


def has(test: Callable[[float], bool], *groups: str) -> Holds:
    def holds(log: Log, t: int) -> bool:
        if "loss" in groups and test(loss(log, t)):
            return True
        return any(test(entry) for group in groups if group != "loss" for each in log[t][group] for entry in each)

    return holds


def length(entries: list[float]) -> float:
    return math.sqrt(math.fsum(entry * entry for entry in entries))


def changes(log: Log, t: int) -> list[list[float]]:
    pairs = zip(log[t]["before"], log[t]["weights"], strict=True)
    return [[b - a for a, b in zip(before, after, strict=True)] for before, after in pairs]


def ratios(log: Log, t: int) -> list[float]:
    """Of the two weight matrices; the biases stand between them."""
    return [length(change) / length(before) for change, before in zip(changes(log, t), log[t]["before"], strict=True)][
        ::2
    ]


def stays(log: Log, t: int, steps: int) -> bool:
    return t + 1 >= steps and any(
        all(not any(changes(log, t - past)[weight]) for past in range(steps)) for weight in range(4)
    )


def spikes(log: Log, t: int) -> bool:
    past = [loss(log, s) for s in range(max(0, t - 60), t) if math.isfinite(loss(log, s))][-20:]
    return len(past) >= 5 and math.isfinite(loss(log, t)) and loss(log, t) > 3 * statistics.median(past)


def plateaus(log: Log, steps: int) -> set[int]:
    """Return the steps at which it holds."""
    records: list[float] = []
    holds, since = set(), 0
    for step in range(1, len(log) + 1):
        value = loss(log, step - 1)
        below = all(value < record - 1e-4 * record for record in records)
        above = all(value > record + 1e-4 * record for record in records)
        if math.isfinite(value) and (below or above):
            records.append(value)
            since = step
        if step - since >= steps:
            holds.add(step)
    return holds


def smoothed(log: Log) -> list[float]:
    average, found = math.nan, []
    for t in range(len(log)):
        value = loss(log, t)
        if math.isfinite(value):
            average = value if math.isnan(average) else average + (value - average) * 2 / 21
        found.append(average)
    return found


def expected(log: Log) -> dict[str, list[int]]:
    """Return the steps at which each line hits, before conditions and counts of `condition` and `ignore`."""

    def at(holds: Holds) -> list[int]:
        return [t + 1 for t in range(len(log)) if holds(log, t)]

    def begins(holds: Holds) -> list[int]:
        steps = at(holds)
        return [step for step in steps if step - 1 not in set(steps)]

    level, on_plateau = smoothed(log), plateaus(log, 100)
    return {
        "break +7": [7],
        "break 1234": [1234],
        "break every 37": list(range(37, STEPS + 1, 37)),
        "break epoch 3": [601],
        "break when loss > 1.5": begins(lambda log, t: loss(log, t) > 1.5),
        "break when win_rate[3] < 0.1": begins(lambda log, t: log[t]["win_rate"][3] < 0.1),
        "break while loss > 2": at(lambda log, t: loss(log, t) > 2),
        "break while loss < prev(loss, 3) / 2": at(lambda log, t: t >= 3 and loss(log, t) < loss(log, t - 3) / 2),
        "break when crosses(loss, 2)": begins(
            lambda log, t: t > 0 and (loss(log, t - 1) < 2 <= loss(log, t) or loss(log, t - 1) > 2 >= loss(log, t))
        ),
        "break changed epoch": list(range(301, STEPS + 1, 300)),
        "break changed counts.decade": list(range(10, STEPS + 1, 10)),
        "break every 10, loss > 1": at(lambda log, t: (t + 1) % 10 == 0 and loss(log, t) > 1),
        "break while loss > 1.5, ema(loss, 20) < 1.2": at(lambda log, t: loss(log, t) > 1.5 and level[t] < 1.2),
        "tbreak when loss > 2": begins(lambda log, t: loss(log, t) > 2)[:1],
        "tbreak every 50": [50],
        "catch nan": begins(has(math.isnan, "loss", "grads", "weights", "activations")),
        "catch nan loss": begins(has(math.isnan, "loss")),
        "catch nan grads": begins(has(math.isnan, "grads")),
        "catch nan weights": begins(has(math.isnan, "weights")),
        "catch inf activations": begins(has(math.isinf, "activations")),
        "catch spike loss x3": begins(spikes),
        "catch plateau loss 100": begins(lambda _log, t: t + 1 in on_plateau),
        "catch vanishing": begins(lambda log, t: any(0 < ratio < 1e-6 for ratio in ratios(log, t))),
        "catch exploding": begins(lambda log, t: any(not ratio <= 0.1 for ratio in ratios(log, t))),
        "catch frozen": begins(lambda log, t: stays(log, t, 1)),
        "catch frozen 4": begins(lambda log, t: stays(log, t, 4)),
        "catch dead": begins(lambda log, t: sum(rate < 0.1 for rate in log[t]["win_rate"]) >= 4),
    }


LINES = list(expected([]))
CONDITION, IGNORED = "break every 10, loss > 1", 5  # its condition is changed, and its first hits are passed over


@pytest.mark.long
def test_every_kind_at_once_stops_where_loops_over_the_same_steps_say(
    make_session: Callable[..., TypingSession],
) -> None:
    session = make_session(LOOP)
    for number, line in enumerate(LINES, 1):
        assert "***" not in session.type(line), line
        assert "***" not in session.type(f"commands {number};; silent;; continue;; end")
    special = LINES.index(CONDITION) + 1
    session.type(f"condition {special} loss > 1.2;; ignore {special} {IGNORED}")
    points = list(session.session.armed.points)
    session.type("continue")
    run = session.session.run
    assert run is not None
    assert session.session.status == "finished", run.error

    stopped = defaultdict(list)
    for step, reason in session.controller.recorder.history.marks().items():
        for number, named in re.findall(r"^(?:Break|Catch)point (\d+) at step (\d+)\b", reason, re.MULTILINE):
            assert int(named) == step
            stopped[int(number)].append(step)
    log = vars(run.module)["log"]
    steps = expected(log)
    steps[CONDITION] = [step for step in steps[CONDITION] if log[step - 1]["loss"] > 1.2]
    for point, (line, by_hand) in zip(points, steps.items(), strict=True):
        assert by_hand, f"{line}: the test needs something to stop at"
        assert point.hits == len(by_hand), line
        assert stopped[point.number] == by_hand[IGNORED if line == CONDITION else 0 :], line
