"""Doing something as soon as a module has been imported, without importing it for a script that never does."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Arrival(importlib.abc.MetaPathFinder):
    """Calls `arrived` once, when the module `name` is there: now, or when somebody has imported it."""

    def __init__(self, name: str, arrived: Callable[[], None]) -> None:
        self._name = name
        self._arrived = arrived
        self._finding = False

    def wait(self) -> None:
        """Begin to wait."""
        if self._name in sys.modules:
            self._arrived()
        else:
            sys.meta_path.insert(0, self)

    def give_up(self) -> None:
        """Wait no longer."""
        with suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """Let the others find the module, and see to it that its end of loading is noticed."""
        del path, target
        if fullname != self._name or self._finding:
            return None
        self._finding = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Noticing(spec, spec.loader, self)
        return spec

    def loaded(self) -> None:
        """The module is there."""
        self.give_up()
        self._arrived()


class _Noticing(importlib.abc.Loader):
    """A loader that tells when it has loaded, and leaves no trace in the module."""

    def __init__(self, spec: ModuleSpec, plain: Any, arrival: Arrival) -> None:
        self._spec = spec
        self._plain = plain
        self._arrival = arrival

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._plain.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._plain
        self._plain.exec_module(module)
        self._arrival.loaded()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)
