"""What is typed after `break` and `catch`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from tdb.errors import UsageError, did_you_mean
from tdb.expressions import Expression, compile_expression
from tdb.stops import events, kinds
from tdb.stops.kinds import Stop
from tdb.tokens import split_outside

STOP_FORMS = "STEP, +N, epoch N, every N, when EXPR, while EXPR or changed EXPR"
CATCH_FORMS = {
    "nan": "nan [loss] [grads] [weights] [activations]",
    "inf": "inf [loss] [grads] [weights] [activations]",
    "spike": "spike METRIC [xK]",
    "plateau": "plateau METRIC N",
    "vanishing": "vanishing [RATIO]",
    "exploding": "exploding [RATIO]",
    "frozen": "frozen [STEPS]",
    "dead": "dead [SHARE]",
}
CRASHES = ("exception", "oom")
"""Events that no step shows, for they end training; `tdb.crashes` reads them."""
WITH_EXPRESSION: dict[str, Callable[[Expression], Stop]] = {
    "when": kinds.when,
    "while": kinds.while_true,
    "changed": kinds.changed,
}
MOST_DIGITS = 18


def parse_stop(text: str, step: int = 0, before: str = "") -> Stop:
    """Read a stop point: `STEP | +N | epoch N | every N | when EXPR | while EXPR | changed EXPR`, then `[, EXPR]`.

    Args:
        text: what was typed after the command's name.
        step: the present step, that `+N` counts from.
        before: what was typed before `text`, so that an error in an expression shows the line as it was typed.

    Raises:
        UsageError: it is none of these forms.
    """
    main, comma, condition = _split_at_comma(text)
    stop = _parse_main(main, step, before)
    if not comma:
        return stop
    return replace(stop, condition=compile_expression(condition, before + main + comma))


def _parse_main(text: str, step: int, before: str) -> Stop:
    stripped = text.strip()
    word = (re.match(r"\w*", stripped) or [""])[0]
    rest = stripped[len(word) :]
    if word in WITH_EXPRESSION:
        if not rest.strip():
            raise UsageError(
                f"{word} takes an expression", f"Example: break {word} {'epoch' if word == 'changed' else 'loss > 2'}"
            )
        leading = text[: len(text) - len(text.lstrip())]
        return WITH_EXPRESSION[word](compile_expression(rest, before + leading + word))
    if word == "epoch":
        return kinds.at_epoch(_count(rest.strip(), word, "Example: break epoch 2", least=0))
    if word == "every":
        return kinds.every(_count(rest.strip(), word, "Example: break every 100"))
    if re.fullmatch(r"\+?[0-9]+", stripped):
        number = _count(stripped.removeprefix("+"), "a stop point", "Examples: break 500, break +10")
        return kinds.at_step(step + number if stripped.startswith("+") else number)
    raise _no_stop(stripped, word)


def _no_stop(text: str, word: str) -> UsageError:
    if not text:
        return UsageError("a stop point is missing", f"It is {STOP_FORMS}")
    if re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        return UsageError(f"a step is a whole number from 1 on, not {text}", "Examples: break 500, break +10")
    if re.fullmatch(r".+:[0-9]+", text):
        return UsageError(
            f"tdb stops after whole steps, not at the line {text}",
            "A step is the unit here: b 500, b when loss < 0.1, b every 100",
        )
    if condition := re.fullmatch(r"(?:(.*\S)\s+)?if\s+(.+)", text):
        meant = f"{condition[1]}, {condition[2]}" if condition[1] else f"when {condition[2]}"
        return UsageError(f"`if` has no place in a stop point: {text!r}", f"Did you mean: break {meant}")
    near = did_you_mean(word, ["epoch", "every", *WITH_EXPRESSION])
    if near:
        return UsageError(f"no stop point {text!r}", near)
    try:
        compile_expression(text)
    except UsageError:
        return UsageError(f"no stop point {text!r}", f"It is {STOP_FORMS}")
    return UsageError(f"a condition begins with when, not {text!r}", f"Did you mean: break when {text}")


def parse_catch(text: str, before: str = "") -> Stop:
    """Read an event stop: one of `CATCH_FORMS`. METRIC may be any expression that is one number a step.

    Args:
        text: what was typed after the command's name.
        before: what was typed before `text`, so that an error in an expression shows the line as it was typed.

    Raises:
        UsageError: it is none of these forms.
    """
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if kind not in CATCH_FORMS:
        known = [*CATCH_FORMS, *CRASHES]
        hint = did_you_mean(kind, known) or f"Events: {', '.join(known)}"
        raise UsageError(f"no event {kind!r}" if kind else "an event is missing", hint)
    match kind:
        case "nan" | "inf":
            return _not_finite(kind, rest)
        case "spike":
            return _spike(rest, before + text[: text.index(kind) + len(kind)] + " ")
        case "plateau":
            return _plateau(rest, before + text[: text.index(kind) + len(kind)] + " ")
        case "frozen":
            return events.frozen(_count(rest, kind, "Example: catch frozen 10") if rest else 1)
        case "dead":
            return events.dead(_share(rest) if rest else events.DEAD_SHARE)
        case "vanishing":
            return events.vanishing(_positive(rest, kind) if rest else events.VANISHING_RATIO)
        case _:
            return events.exploding(_positive(rest, kind) if rest else events.EXPLODING_RATIO)


def _not_finite(kind: Literal["nan", "inf"], rest: str) -> Stop:
    places = rest.split()
    for place in places:
        if place not in events.NOT_FINITE_IN:
            hint = did_you_mean(place, events.NOT_FINITE_IN) or f"It is caught in {', '.join(events.NOT_FINITE_IN)}"
            raise UsageError(f"{kind} cannot be caught in {place!r}", hint)
    return events.not_finite(kind, tuple(dict.fromkeys(places)) or events.NOT_FINITE_IN)


def _spike(rest: str, before: str) -> Stop:
    if not rest:
        raise UsageError("spike takes a metric", "Example: catch spike loss x3")
    last = re.fullmatch(r"(.*\S)\s+x([0-9]+\.?[0-9]*)", rest)
    metric, factor = (last[1], float(last[2])) if last else (rest, events.SPIKE_FACTOR)
    if factor <= 1:
        raise UsageError(f"a spike is more than x1, not x{factor:g}", "Example: catch spike loss x3")
    return events.spike(compile_expression(metric, before), factor)


def _plateau(rest: str, before: str) -> Stop:
    metric, _, steps = rest.rpartition(" ")
    if not metric:
        raise UsageError("plateau takes a metric and a number of steps", "Example: catch plateau loss 200")
    count = _count(steps, "plateau", "Example: catch plateau loss 200")
    return events.plateau(compile_expression(metric, before), count)


def _share(text: str) -> float:
    number = text.removesuffix("%")
    share = _positive(number, "dead") / (100 if text.endswith("%") else 1)
    if share > 1:
        raise UsageError(f"a share is at most 1, not {text}", "Examples: catch dead 0.5, catch dead 50%")
    return share


def _positive(text: str, what: str) -> float:
    if re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,2})?", text, re.IGNORECASE) and float(text) > 0:
        return float(text)
    raise UsageError(f"{what} takes a number above 0, not {text!r}", f"Example: catch {what} 0.5")


def _count(text: str, what: str, example: str, least: int = 1) -> int:
    if re.fullmatch(r"[0-9]+", text) and len(text) <= MOST_DIGITS and int(text) >= least:
        return int(text)
    wrong = f", not {text!r}" if text else ""
    raise UsageError(f"{what} takes a whole number from {least} on{wrong}", example)


def _split_at_comma(text: str) -> tuple[str, str, str]:
    """Split at the first comma that is in no bracket and no quotes."""
    pieces = split_outside(text, lambda line, place: int(line[place] == ","))
    main = pieces[0][1]
    return main, text[len(main) : len(main) + 1], text[len(main) + 1 :]
