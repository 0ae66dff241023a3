"""The table that compares conditions: kept as JSON, CSV and Markdown, and read back to go on with it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tdb.errors import TdbError, UsageError
from tdb.files import must_be_replaceable, replacing
from tdb.serialise import to_json

NAME = "comparison"
VERSION = 1
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True)
class Row:
    """What is told of one trained condition.

    Attributes:
        condition: its name.
        rule: the learning rule; empty for none.
        som_lr: how strongly the rule pulls; None for no pull.
        loss: of the last step.
        l1: on the evaluation digits.
        psnr: on the evaluation digits, in decibels.
        weight_cosine: mean cosine over all pairs of features.
        effective_rank: of the features' weights.
        dead: how many features had a win rate below 0.01 in the last epoch; None without a rule.
        winners: how many had one above 0.05; None without a rule.
        activation_sparsity: share of features above their image's mean strength, on the evaluation digits.
        seconds: how long training took.
        health: the features' health, as `bcl.health.health_report` tells of a run; None without a rule.
    """

    condition: str
    rule: str
    som_lr: float | None
    loss: float
    l1: float
    psnr: float
    weight_cosine: float
    effective_rank: float
    dead: int | None
    winners: int | None
    activation_sparsity: float
    seconds: float
    health: Mapping[str, Any] | None = field(default=None, repr=False)

    def flat(self) -> dict[str, Any]:
        """Return all but the health: one value a column."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "health"}


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "condition": lambda row: row.condition,
    "loss": lambda row: f"{row.loss:.4f}",
    "L1": lambda row: f"{row.l1:.4f}",
    "PSNR": lambda row: f"{row.psnr:.2f}",
    "w_cos": lambda row: f"{row.weight_cosine:.3f}",
    "rank": lambda row: f"{row.effective_rank:.1f}",
    "dead / winners": lambda row: "-" if row.dead is None else f"{row.dead} / {row.winners}",
    "sparsity": lambda row: f"{row.activation_sparsity:.3f}",
}


@dataclass
class Comparison:
    """Conditions that were trained with the same settings.

    Attributes:
        settings: all that decides the numbers, by name.
        rows: condition -> its row, in the order in which they were trained.
    """

    settings: Mapping[str, Any]
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Add a condition."""
        self.rows[row.condition] = row

    def table(self) -> str:
        """Return the rows as a table, aligned and in Markdown."""
        lines = [list(COLUMNS), *([cell(row) for cell in COLUMNS.values()] for row in self.rows.values())]
        widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(_aligned(line, widths) for line in (lines[0], rule, *lines[1:]))

    def markdown(self) -> str:
        """Return the table with its settings."""
        settings = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in self.settings.items())
        return f"{self.table()}\n\n{settings}\n"

    def csv(self) -> str:
        """Return a line a condition, with every digit, the settings in columns of their own."""
        text = io.StringIO()
        names = [each.name for each in fields(Row) if each.name != "health"]
        settings = {name: value for name, value in self.settings.items() if name not in names}
        writer = csv.DictWriter(text, [*names, *settings], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row.flat(), **settings} for row in self.rows.values())
        return text.getvalue()

    def json(self) -> str:
        """Return all there is, the features' health too."""
        rows = [asdict(row) for row in self.rows.values()]
        everything = {"version": VERSION, "settings": self.settings, "conditions": rows}
        return json.dumps(to_json(everything), allow_nan=False, indent=1) + "\n"

    def write(self, folder: Path | None) -> None:
        """Write comparison.json, comparison.csv and comparison.md, if to a folder; each is whole at any time.

        Raises:
            UsageError: a file cannot be written.
        """
        if folder is None:
            return
        for suffix, text in ((".json", self.json()), (".csv", self.csv()), (".md", self.markdown())):
            write_whole(folder / f"{NAME}{suffix}", text.encode())

    @classmethod
    def begun_in(cls, folder: Path | None, settings: Mapping[str, Any]) -> Comparison:
        """Return the comparison that `folder` holds, to go on with, or an empty one.

        Raises:
            UsageError: what the folder holds is damaged, or was trained with other settings.
        """
        path = None if folder is None else folder / f"{NAME}.json"
        if path is None or not path.exists():
            return cls(settings)
        way_out = f"Choose another --out, or delete {path} to begin anew"
        try:
            kept = _from_json(json.loads(path.read_text(encoding="utf-8")))
            rows = {row["condition"]: Row(**row) for row in kept["conditions"]}
            before = dict(kept["settings"])
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}", "Choose another --out") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"{path} is damaged, or not a comparison", way_out) from None
        others = list(_differences(before, dict(settings)))
        if others:
            raise UsageError(f"{folder} holds a comparison with {'; '.join(others)}", way_out)
        return cls(settings, rows)


def must_be_writable(path: Path) -> None:
    """Make sure that `write_whole` can write a file, as far as that can be known before training.

    Raises:
        UsageError: it cannot be written.
    """
    with _named_by_the_user():
        must_be_replaceable(path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is whole, or as it was before.

    Raises:
        UsageError: it cannot be written.
    """
    with _named_by_the_user(), replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _named_by_the_user() -> Iterator[None]:
    """Tell what is wrong with a file as a mistake of the command line, which has named it."""
    try:
        yield
    except TdbError as error:
        raise UsageError(error.message, error.hint) from None


def _aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    """Return a line of the table: the first cell to the left, numbers to the right."""
    first, *rest = zip(cells, widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])} |"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            yield f"{name.replace('_', ' ')} {before.get(name)}, not {now.get(name)}"


def _from_json(value: Any) -> Any:
    """Return what `to_json` was given, as far as lists, dictionaries and numbers go."""
    match value:
        case dict():
            return {name: _from_json(item) for name, item in value.items()}
        case list():
            return [_from_json(item) for item in value]
        case str():
            return NOT_FINITE.get(value, value)
    return value
