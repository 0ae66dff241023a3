"""What is run: a script's file, a folder or an archive with a `__main__`, or a module, as `python` takes them."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tdb.errors import UsageError
from tdb.files import must_be_readable


@dataclass(frozen=True)
class Script:
    """What to run, and with what.

    Attributes:
        target: the path of a file, or of a folder or an archive with a `__main__`; or a module's name.
        arguments: its arguments.
        is_module: it is a module, as `python -m` takes it.
    """

    target: str
    arguments: Sequence[str] = ()
    is_module: bool = False

    @property
    def name(self) -> str:
        """The name to show."""
        return self.target if self.is_module else Path(self.target).absolute().name

    @property
    def holds_modules(self) -> bool:
        """Whether it is a folder or an archive: python puts that on its path, and runs the `__main__` in it."""
        return not self.is_module and pkgutil.get_importer(str(Path(self.target).absolute())) is not None

    @property
    def source(self) -> Path | None:
        """The file that says whether the script is still what it was; None for a module."""
        path = Path(self.target)
        return None if self.is_module else path / "__main__.py" if path.is_dir() else path

    def first_on_path(self) -> str:
        """Return where python looks for modules first when it runs this."""
        if self.is_module:
            return str(Path.cwd())
        return str(Path(self.target).absolute() if self.holds_modules else Path(self.target).resolve().parent)

    def check(self) -> None:
        """Raise UsageError if there is nothing to run, before anything has started."""
        if self.is_module:
            with _on_path(str(Path.cwd())):
                found = self._spec()
            if found is None:
                raise UsageError(f"no module named {self.target!r}", "Usage: tdb -m MODULE [ARGS...]")
            return
        usage = "Usage: tdb [options] SCRIPT [ARGS...]"
        try:
            must_be_readable(Path(self.target))
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"no such script: {self.target}", usage) from None
        except OSError as error:
            raise UsageError(f"cannot read {self.target}: {error.strerror}") from None
        if self.holds_modules and self._spec() is None:
            raise UsageError(f"there is no __main__.py in {self.target}", usage)

    def load(self) -> tuple[types.ModuleType, Callable[[], None]]:
        """Return a fresh `__main__` module, and what runs the script in it; `sys.argv` says where a module lies."""
        module = types.ModuleType("__main__")
        module.__dict__["__builtins__"] = builtins
        if self.is_module or self.holds_modules:
            spec = self._spec()
            if spec is None or spec.loader is None:
                raise UsageError(f"no module named {self.target!r}")
            # The one public way to get a module's code object, whatever its loader.
            code = spec.loader.get_code(spec.name)  # type: ignore[attr-defined]
            module.__spec__, module.__loader__ = spec, spec.loader
            module.__file__, module.__package__, module.__dict__["__cached__"] = spec.origin, spec.parent, spec.cached
            if self.is_module:
                sys.argv[0] = spec.origin or self.target
        else:
            path = str(Path(self.target).absolute())
            code = compile(Path(path).read_bytes(), path, "exec")
            module.__file__, module.__package__, module.__dict__["__cached__"] = path, None, None
            module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
        return module, lambda: exec(code, module.__dict__)  # noqa: S102 - running the script is what tdb is for

    def _spec(self) -> importlib.machinery.ModuleSpec | None:
        """Return what finds the module that is run; None if there is none."""
        if self.is_module:
            return _module_to_run(self.target)
        importer = pkgutil.get_importer(str(Path(self.target).absolute()))
        return None if importer is None else importer.find_spec("__main__")


def _module_to_run(name: str) -> importlib.machinery.ModuleSpec | None:
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
        return spec
    return None


@contextmanager
def _on_path(entry: str) -> Iterator[None]:
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(entry)
