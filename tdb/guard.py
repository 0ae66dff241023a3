"""The guard around everything that is evaluated at the prompt: training must not notice that somebody looked.

An innocent `torch.rand(3)` or `model(x)` at the prompt draws from the generators that training uses, may leave a
module in evaluation mode, and moves the running statistics of normalisation layers. All of that is put back.
"""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random.mtrand import get_bit_generator

from tdb.counted import counted

if TYPE_CHECKING:
    from torch import Tensor, nn


class _NumpyGenerator:
    """Reads the state of numpy's global generator, which takes 40 microseconds: only where it has changed.

    The state is remembered with the bytes that it was read from. A second normal number of a pair, drawn last time and
    waiting, is no part of these bytes: with one waiting, the state is always read.
    """

    KIND = np.random.MT19937
    SIZE = 624 * 4 + 4  # the words of a Mersenne twister, and how many of them are used up

    def __init__(self) -> None:
        self._memory: tuple[int, bytes] | None = None
        self._state: Any = None

    def read(self) -> Any:
        """Return what `numpy.random.get_state()` returns; it is shared, and not to be changed."""
        generator = get_bit_generator()
        if type(generator) is not self.KIND:
            return np.random.get_state()
        address = int(generator.ctypes.state_address)
        memory = address, ctypes.string_at(address, self.SIZE)
        if memory != self._memory:
            self._state = np.random.get_state()
            has_normal_waiting = bool(self._state[3])
            self._memory = None if has_normal_waiting else memory
        return self._state


_NUMPY = _NumpyGenerator()


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Return (read, write) of every generator in use; an accelerator that was never used stays untouched."""
    pairs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = [
        (random.getstate, random.setstate),
        (_NUMPY.read, np.random.set_state),
    ]
    torch = sys.modules.get("torch")
    if torch is not None:
        pairs.append((torch.get_rng_state, torch.set_rng_state))
        if torch.cuda.is_initialized():
            pairs.append((torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all))
        if torch.backends.mps.is_available():
            pairs.append((torch.mps.get_rng_state, torch.mps.set_rng_state))
    return pairs


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put every random generator back as it was."""
    states = [(write, read()) for read, write in generators()]
    try:
        yield
    finally:
        for write, state in states:
            write(state)


@contextmanager
def modules_kept(models: Iterable[nn.Module], notice: Callable[[str], None]) -> Iterator[None]:
    """Put training modes, buffers and the thread's gradient mode back; say what had to be put back."""
    import torch

    models = list(models)
    modules = [named for model in models for named in model.named_modules()]
    modes = [(module, module.training) for _, module in modules]
    buffers = [
        (path, module, name, buffer, buffer.detach().clone())
        for path, module in modules
        for name, buffer in module.named_buffers(recurse=False)
        if not torch.nn.parameter.is_lazy(buffer) and buffer.layout == torch.strided
    ]
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            yield
        finally:
            if changed := [module for module, mode in modes if module.training != mode]:
                for module, mode in modes:
                    module.training = mode
                number = counted(len(changed), "module")
                notice(f"training mode of {number} put back: `set guard off` to change it for good")
            moved = [
                (f"{path}.{name}" if path else name, module, name, buffer, old)
                for path, module, name, buffer, old in buffers
                if not (_is_buffer(module, name, buffer) and _same(buffer, old))
            ]
            with torch.no_grad():
                for _, module, name, buffer, old in moved:
                    # Through `data`: inside a step a graph may hold the buffer, and would take a write for training's.
                    buffer.data.copy_(old)
                    setattr(module, name, buffer)
            if moved:
                names = ", ".join(full_name for full_name, *_ in moved[:3])
                notice(f"buffers put back ({names}): `set guard off` to change them for good")


def _is_buffer(module: nn.Module, name: str, buffer: Tensor) -> bool:
    return getattr(module, name, None) is buffer


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same values; NaN is the same as NaN."""
    import torch

    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


@contextmanager
def guarded(
    models: Iterable[nn.Module] = (),
    inert: Iterable[Callable[[], AbstractContextManager[Any]]] = (),
    notice: Callable[[str], None] = lambda _text: None,
) -> Iterator[None]:
    """Run the body so that training does not notice.

    Args:
        models: models whose training modes and buffers are put back.
        inert: contexts that learning rules declare, in which their hooks do nothing.
        notice: receives a line about each change that was put back, except random draws.
    """
    models = list(models)
    with ExitStack() as stack:
        stack.enter_context(generators_kept())
        for context in inert:
            stack.enter_context(context())
        if models:
            stack.enter_context(modules_kept(models, notice))
        yield
