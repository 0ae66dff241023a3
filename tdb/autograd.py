"""Where torch is in its differentiation or compilation, and what lies inside the tensors of its function transforms."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def inside_backward() -> bool:
    """Return whether this thread is inside a backward pass: in a hook, or in what a checkpointed part computes anew."""
    import torch

    return bool(torch._C._current_graph_task_id() != -1)  # noqa: SLF001 - torch has no other name for it


def is_being_compiled() -> bool:
    """Return whether this code is being compiled into a function of the script's, which is to stay as it is.

    To be asked first by whatever is called from inside modules: torch then compiles nothing of the rest.
    """
    import torch

    return torch.compiler.is_compiling()


def never_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function or method that is never compiled, nor is what it calls, whatever of the script's calls it.

    It is marked, and is called as it is: torch's own wrapper costs ten microseconds between two steps.
    """
    import torch
    from torch._compile import _disable_dynamo  # `torch.compiler.disable` loads the compiler for scripts without any

    evaluation: Any = torch._C._dynamo.eval_frame  # noqa: SLF001 - as above
    if not hasattr(evaluation, "set_code_exec_strategy"):  # an older torch
        return _disable_dynamo(functools.partial(function))  # it notes something there, which methods do not take
    marked: Any = getattr(function, "__func__", function)
    marked._torchdynamo_disable = True  # noqa: SLF001 - for what is traced and calls it
    skip = evaluation._FrameAction.SKIP  # noqa: SLF001 - as above
    evaluation.set_code_exec_strategy(marked.__code__, evaluation._FrameExecStrategy(skip, skip))  # noqa: SLF001
    return function


def count_compiled() -> int:
    """Return how many frames torch has compiled in this process."""
    utilities = sys.modules.get("torch._dynamo.utils")
    return 0 if utilities is None else int(utilities.counters["frames"]["ok"])


def is_transformed(tensor: Tensor) -> bool:
    """Return whether a tensor stands for others inside `torch.func` (vmap, grad): it is of no use once that is over."""
    import torch

    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))  # noqa: SLF001 - as above


def without_transforms(tensor: Tensor) -> Tensor:
    """Return the tensor with the numbers: what `torch.func` has put around it is taken off."""
    import torch

    while is_transformed(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)  # noqa: SLF001 - as above
    return tensor


def is_transforming() -> bool:
    """Return whether this thread is inside a function that `torch.func` transforms."""
    import torch

    return torch._C._functorch.maybe_current_level() is not None  # noqa: SLF001 - as above


def out_of_transforms(value: Any) -> Any:
    """Return what a module is called with, or a part of it, as it will be there when a transform is over."""
    import torch

    if not is_transforming():
        return value
    if isinstance(value, torch.Tensor):
        return without_transforms(value)
    if type(value) in (list, tuple):
        return type(value)(map(out_of_transforms, value))
    return {key: out_of_transforms(each) for key, each in value.items()} if type(value) is dict else value
