"""Data flows one way: who may import whom, and when the heavy libraries are loaded."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
# Loading one of these takes from a tenth of a second to seconds: a plain `tdb --help` must not.
HEAVY = {"torch", "torchvision", "matplotlib", "PIL", "pandas", "scipy", "mlxtend", "safetensors"}


class Import(NamedTuple):
    """One imported module, and whether it is loaded as soon as the importing module is."""

    module: str
    at_once: bool


def imports(tree: ast.AST, package: str = "", at_once: bool = True) -> Iterator[Import]:
    """Walk every import of a module, those in functions and those for the type checker included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (Import(f"{origin}.{alias.name}", at_once) for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, package, at_once=False)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from imports(ast.Module([statement], []), package, at_once=False)
            for statement in node.orelse:
                yield from imports(ast.Module([statement], []), package, at_once)
        else:
            yield from imports(node, package, at_once)


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def modules_of(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no modules in {package}"
    return found


def imports_of(path: Path) -> list[Import]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return list(imports(ast.parse(path.read_text(encoding="utf-8")), package))


def offences(package: str, *forbidden: str, at_once: bool = False, but: tuple[str, ...] = ()) -> list[str]:
    """Return "file: module" for each forbidden import in a package; with `at_once` only for those at module level."""
    return [
        f"{path.relative_to(ROOT)}: {found.module}"
        for path in modules_of(package)
        if not str(path.relative_to(ROOT)).startswith(but or ("\0",))
        for found in imports_of(path)
        if within(found.module, *forbidden) and (found.at_once or not at_once)
    ]


def test_the_walk_sees_every_kind_of_import() -> None:
    source = """
import one
import two.inner as two
from three import four
from . import sibling
from ..above import thing
if TYPE_CHECKING:
    import five
else:
    import six
try:
    import seven
except ImportError:
    pass
class Class:
    import eight
    def method(self):
        import nine
later = lambda: __import__("ten")
"""
    found = set(imports(ast.parse(source), "tdb.shell"))
    at_once = {"one", "two.inner", "three.four", "tdb.shell.sibling", "tdb.above.thing", "six", "seven", "eight"}
    assert found == {Import(name, True) for name in at_once} | {Import("five", False), Import("nine", False)}


class _AsItRuns(ast.NodeTransformer):
    """Leaves out what only the type checker imports."""

    def visit_If(self, node: ast.If) -> ast.AST:
        return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


def test_no_module_imports_one_that_imports_it_not_even_inside_functions() -> None:
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("tdb", "bcl", "recipes")
        for path in modules_of(package)
    }

    def module_of(imported: str) -> str:
        while imported and imported not in paths:
            imported = imported.rpartition(".")[0]
        return imported

    graph = {}
    for name, path in paths.items():
        tree = _AsItRuns().visit(ast.parse(path.read_text(encoding="utf-8")))
        package = ".".join(path.relative_to(ROOT).parent.parts)
        graph[name] = {module_of(found.module) for found in imports(tree, package)} - {name, ""}
    assert len(graph["tdb.session"]) > 5
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_tdb_knows_nothing_of_bcl_and_recipes() -> None:
    assert offences("tdb", "bcl", "recipes", "tests") == []


def test_one_module_of_bcl_knows_tdb_and_that_only_by_its_door() -> None:
    """What the rule computes knows nothing of how tdb's commands say it: bcl/panel.py imports it, never the reverse."""
    known = {path: imports_of(path) for path in modules_of("bcl")}
    of_tdb = {path.relative_to(ROOT) for path in known if any(within(found.module, "tdb") for found in known[path])}
    assert of_tdb == {Path("bcl/panel.py")}
    in_panel = {found.module for found in known[ROOT / "bcl" / "panel.py"] if within(found.module, "tdb")}
    assert all(within(module, "tdb.panel") for module in in_panel), in_panel
    assert offences("bcl", "bcl.panel", "recipes", "tests") == []


def test_the_trainer_knows_nothing_of_tdb() -> None:
    assert not [found for found in imports_of(ROOT / "recipes" / "trainer.py") if within(found.module, "tdb")]


def test_tdb_loads_torch_and_matplotlib_only_where_they_are_used() -> None:
    assert offences("tdb", *HEAVY, at_once=True) == []


def test_only_the_shell_knows_prompt_toolkit() -> None:
    assert offences("tdb", "prompt_toolkit", but=("tdb/shell/",)) == []


def test_only_the_shell_and_the_command_line_know_the_shell() -> None:
    assert (
        offences(
            "tdb", "tdb.shell", but=("tdb/shell/", "tdb/__main__.py", "tdb/api.py", "tdb/trace.py", "tdb/elsewhere/")
        )
        == []
    )


@pytest.mark.parametrize(
    "module",
    [
        "gate",
        "captures",
        "guard",
        "step",
        "controller",
        "loop_side",
        "step_captures",
        "stop_question",
        "under_way",
        "target",
        "errors",
        "results",
        "panel",
    ],
)
def test_what_the_training_loop_touches_knows_nothing_of_what_looks_at_it(module: str) -> None:
    """The training loop -> the controller -> history -> queries -> views -> the shell."""
    later = ("tdb.queries", "tdb.views", "tdb.commands", "tdb.shell", "tdb.session", "tdb.launch", "rich")
    known = [found for found in imports_of(ROOT / "tdb" / f"{module}.py") if within(found.module, *later)]
    # The panel hands on what a rule's commands need, without importing it.
    assert [found.module for found in known if found.at_once or module != "panel"] == []


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import tdb", {*HEAVY, "numpy", "rich", "prompt_toolkit", "tdb.controller"}),
        ("import tdb.controller", {*HEAVY, "rich", "prompt_toolkit"}),
        ("import tdb; tdb.DebugController().pause()", {*HEAVY, "rich", "prompt_toolkit"}),
        ("import tdb; tdb.active_controller()", {*HEAVY, "numpy", "tdb.controller"}),
        ("import bcl", {"tdb", "recipes", "matplotlib"}),
    ],
)
def test_what_an_import_loads(statement: str, unwanted: set[str]) -> None:
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert unwanted.intersection(done.stdout.split()) == set()
