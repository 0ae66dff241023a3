"""What a command answers: plain data first, rendering last.

The one currency between queries, commands and views: numpy arrays and names, nothing that refers to live tensors
or to a terminal. `tdb.views` turns these into rich renderables and matplotlib figures, `tdb.serialise` into JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Rows of equal columns.

    Attributes:
        columns: name -> values, in the order shown; numpy arrays or lists, all of one length. If all names are blank,
            the table has no header.
        status: one word a row ("dead", "contender", "winner"), or empty.
        summary: row label ("mean", "min", "max") -> column -> value, shown under the rows.
        note: how many rows of how many, and how they are sorted.
        exact: the table for files and programs, if the cells of this one are laid out for the eye.
        mixed: each row is about another quantity, so that the numbers of a column cannot share one format.
    """

    columns: Mapping[str, Sequence[Any] | Array]
    status: Sequence[str] = ()
    summary: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""
    title: str = ""
    exact: Table | None = None
    mixed: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True)
class Facts:
    """Names and values, one a line."""

    values: Mapping[str, Any]
    title: str = ""


@dataclass(frozen=True)
class Text:
    """Text as it is, shown without interpretation.

    `places` are places in files, "folder/file.py(88) train", that lines end in: where a line is too long for the
    terminal, they are what is made shorter. Lines of `is_prose` are broken between words there.
    """

    text: str
    places: Sequence[str] = ()
    is_prose: bool = False


class Traceback(Text):
    """What Python says of an exception that ended training: on stderr, as it does, unless a person reads stdout."""


@dataclass(frozen=True)
class TensorValue:
    """A tensor that was looked at: `values` is a numpy copy; dtype and device are the tensor's own.

    Of a large tensor only the corners are shown, unless it is `full`.
    """

    name: str
    values: Array
    dtype: str
    device: str
    full: bool = False


# Pictures. Each is data; `tdb.views.draw(picture)` gives a matplotlib Figure. `caption` is the one line of text that
# says what the picture shows, so that it can be read without the picture.


@dataclass(frozen=True)
class Images:
    """N images as a grid; `images` is [N, H, W] or [N, H, W, 3]. Signed data get a diverging map centred on zero.

    `rows` labels the grid's rows when `columns` is set: images run row by row. `scales` gives each row its own
    symmetric limit, otherwise one limit serves all.
    """

    images: Array
    labels: Sequence[str] = ()
    caption: str = ""
    title: str = ""
    signed: bool = False
    columns: int | None = None
    rows: Sequence[str] = ()
    scales: Sequence[float] = ()


@dataclass(frozen=True)
class Matrix:
    """A [R, C] array as a heatmap; `limits` None means the data's own finite range.

    `row_ids` and `column_ids` name the rows and columns as they stand (after any reordering).
    """

    values: Array
    caption: str = ""
    title: str = ""
    row_name: str = "row"
    column_name: str = "column"
    row_ids: Sequence[int] | Array = ()
    column_ids: Sequence[int] | Array = ()
    limits: tuple[float, float] | None = None
    signed: bool = True


@dataclass(frozen=True)
class Scatter:
    """Labelled points; `color` is a number a point, `status` a word a point that chooses its marker."""

    x: Array
    y: Array
    x_name: str
    y_name: str
    ids: Sequence[int] | Array
    color: Array | None = None
    color_name: str = ""
    status: Sequence[str] = ()
    log: bool = False
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class Curves:
    """Lines over steps: label -> (steps [n], values [n]); `marks` are vertical lines: step -> word.

    At the steps of `gaps` every line is broken: tdb kept out of them, and nobody knows their values.
    """

    lines: Mapping[str, tuple[Array, Array]]
    y_name: str
    x_name: str = "step"
    marks: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[str, int] = field(default_factory=dict)
    gaps: Sequence[int] | Array = ()
    log: bool = False
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class Profiles:
    """Vectors [N, F] that are no images, one bar profile each; `scales` gives each its own limit."""

    values: Array
    labels: Sequence[str] = ()
    caption: str = ""
    title: str = ""
    signed: bool = True
    scales: Sequence[float] = ()


@dataclass(frozen=True)
class Histogram:
    """The distribution of one array's finite values; what was not finite is counted in the caption."""

    values: Array
    name: str
    caption: str = ""
    title: str = ""
    log: bool = False


@dataclass(frozen=True)
class Distributions:
    """Distributions of several tensors, on one scale that is logarithmic on both sides of zero.

    Attributes:
        names: one a row.
        shares: [n, 2 B] the share of a row's values in each bin: the largest negative ones first, the largest last.
        exponents: the powers of ten between which the bins of each half lie.
        zeros: [n] the share of zeros.
        wrong: [n] how many values are not finite.
    """

    names: Sequence[str]
    shares: Array
    exponents: tuple[int, int]
    zeros: Array
    wrong: Array
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class Page:
    """Several pictures in one figure, `columns` side by side."""

    pictures: Sequence[Picture]
    columns: int = 2
    caption: str = ""
    title: str = ""


Picture: TypeAlias = Images | Matrix | Scatter | Curves | Profiles | Histogram | Distributions | Page
Part: TypeAlias = Table | Facts | Text | TensorValue | Picture


@dataclass(frozen=True)
class Result:
    """A command's answer: `parts` are shown in order; `data` is the JSON answer, made from the parts if not given.

    `file` is where a command was told to write its answer, as `-o FILE` does for every command, and `drawn` is the
    picture that a file gets where the answer itself shows none.
    """

    parts: Sequence[Part] = ()
    data: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    file: Path | None = None
    drawn: Picture | None = None
