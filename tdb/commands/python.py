"""Python in the training loop's frame."""

from __future__ import annotations

import pprint
from typing import TYPE_CHECKING, Any

from tdb.captures import is_tensor
from tdb.commands import command
from tdb.commands.arguments import Text
from tdb.errors import TdbError
from tdb.results import Facts, Part, Result
from tdb.results import Text as Lines
from tdb.tensors import tensor_value

if TYPE_CHECKING:
    from tdb.session import Session


def part_of(value: Any) -> Part:
    """Return a Python value as a part: a tensor with its summary, anything else as its repr."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        try:
            return tensor_value("", value)
        except TdbError:
            pass
    return Lines(repr(value))


@command(repeats=True)
def p(session: Session, expression: Text) -> Result:
    """Print the value of a Python expression; of a tensor its summary and its values.

    The expression is evaluated where the training loop waits, in the training thread, so that training does not notice:
    random generators, training modes and buffers are put back.

    Example:
        p optimizer.param_groups[0]["lr"]
        p model.encoder[0].weight.norm()
    """
    value = session.python(expression)
    session.value = value
    part = part_of(value)
    return Result([part], {"value": value if isinstance(part, Lines) else part})


@command()
def pp(session: Session, expression: Text) -> Result:
    """Pretty-print the value of a Python expression in full.

    Example:
        pp optimizer.param_groups
    """
    value = session.python(expression)
    session.value = value
    return Result([Lines(pprint.pformat(value))], {"value": value})


@command()
def whatis(session: Session, expression: Text) -> Result:
    """Show the type of a value; of a tensor also shape, dtype, device, and whether it needs a gradient.

    Example:
        whatis loss
    """
    value = session.python(expression)
    kind = type(value)
    facts: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        facts |= {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if is_tensor(value):
        facts |= {"device": str(value.device), "requires_grad": value.requires_grad}
    return Result([Facts(facts)], facts)
