"""What optimizers train: found by their parameters among all modules of the process, and named as the script does."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.frames import is_library, is_own, is_torch
from tdb.model_capture import is_compiled
from tdb.variables import variables_of

if TYPE_CHECKING:
    from torch import Tensor, nn


# Where the classes of compiling, parallel and framework's wrappers of a module are defined.
WRAPPERS = (
    *("torch._dynamo", "torch.nn.parallel", "torch.distributed"),
    *("lightning.fabric.wrappers", "lightning_fabric.wrappers"),
)


class Root(NamedTuple):
    """One of the outermost modules that own what is trained.

    Attributes:
        module: it.
        outer: a compiling or parallel wrapper around it that is called in its place, or the module itself.
        is_compiled: it, or a part of it, runs through `torch.compile`.
    """

    module: nn.Module
    outer: nn.Module
    is_compiled: bool


@dataclass(frozen=True)
class Trained:
    """What was found.

    Attributes:
        model: the outermost module that owns the parameters; several such modules under one, by name; or, of
            parameters that no module owns, a module of those.
        roots: the outermost modules.
        schedulers: those of the optimizers.
        scalers: gradient scalers that are in use.
    """

    model: nn.Module
    roots: list[Root]
    schedulers: list[Any]
    scalers: list[Any]


def find_trained(
    optimizers: Sequence[Any],
    parameters: Sequence[Tensor],
    names: Mapping[int, str],
    among: Iterable[Any] | None = None,
) -> Trained:
    """Find what owns parameters, and what goes with their optimizers.

    Args:
        optimizers: they all train.
        parameters: what they train.
        names: the script's names of objects, by id.
        among: where to look for it; in the whole process if nothing is given.
    """
    import torch

    kinds = torch.nn.Module, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler
    modules, schedulers, scalers = _instances(gc.get_objects() if among is None else among, *kinds)
    roots, loose = owners(modules, parameters, names)
    groups = {id(each.param_groups) for each in optimizers}  # a wrapper of an optimizer, as Accelerate's, has them, too
    theirs = [each for each in schedulers if id(getattr(each.optimizer, "param_groups", None)) in groups]
    return Trained(_as_one(roots, loose, names), roots, theirs, [each for each in scalers if each.is_enabled()])


def _instances(objects: Iterable[Any], *kinds: type) -> tuple[list[Any], ...]:
    """Return those objects that are of each of these kinds."""
    found: tuple[list[Any], ...] = tuple([] for _ in kinds)
    known: dict[type, list[Any] | None] = {}  # there are hundreds of thousands of objects, and few thousand types
    for each in objects:
        kind = type(each)  # `isinstance` would ask the object, which may be a proxy that wakes up
        try:
            place = known[kind]
        except KeyError:
            place = next((place for place, wanted in zip(found, kinds, strict=True) if issubclass(kind, wanted)), None)
            known[kind] = place
        if place is not None:
            place.append(each)
    return found


def owners(
    modules: Iterable[nn.Module], parameters: Sequence[Tensor], names: Mapping[int, str]
) -> tuple[list[Root], list[Tensor]]:
    """Return the outermost modules that own parameters, those of most first, and the parameters that none owns."""
    modules = [module for module in modules if "_modules" in vars(module)]
    inner = {id(child) for module in modules for child in module._modules.values()}  # noqa: SLF001 - `children` skips repeats
    wanted = {id(parameter): parameter for parameter in parameters}
    owned = [
        (module, own)
        for module in modules
        if id(module) not in inner and (own := wanted.keys() & {id(each) for each in module.parameters()})
    ]
    roots: list[Root] = []
    compiled = {id(each._modules.get("_orig_mod")) for each in modules if _is_compiling(each)}  # noqa: SLF001 - as above
    rest = set(wanted)
    while rest and owned:
        # Of two that own the same, the one that the script has a name for, then the outer one.
        root, own = max(owned, key=lambda each: (len(each[1] & rest), id(each[0]) in names, _size(each[0])))
        if not own & rest:
            break
        module = unwrapped(root)
        roots.append(Root(module, root, _is_compiled(module, compiled)))
        rest -= own
    order = {id(parameter): place for place, parameter in enumerate(parameters)}
    roots.sort(key=lambda root: min(order.get(id(each), len(order)) for each in root.module.parameters()))
    return roots, [wanted[key] for key in wanted if key in rest]


def unwrapped(module: nn.Module) -> nn.Module:
    """Return what a compiling or parallel wrapper is around, or the module itself."""
    import torch

    children = dict(module._modules.items())  # noqa: SLF001 - an attribute may be anything; a scripted module's is no dict
    for name in ("_orig_mod", "module", "_forward_module"):
        inner = children.get(name)
        wrapper = type(module).__module__.startswith(WRAPPERS)
        if isinstance(inner, torch.nn.Module) and wrapper:
            return unwrapped(inner)
    return module


def parts_of(module: nn.Module, called: nn.Module | None = None) -> list[nn.Module]:
    """Return the outermost modules inside one that may be called by themselves.

    Args:
        module: its parts are asked for.
        called: one of the modules inside is known to be called, and those around it not to be.
    """
    import torch

    parts: list[nn.Module] = []
    for child in module.children():
        is_list = type(child).forward is torch.nn.Module.forward
        is_around = child is not called and any(each is called for each in child.modules())
        parts += parts_of(child, called) if is_list or is_around else [child]
    return parts


def leaves_of(roots: Any) -> list[Tensor]:
    """Return the tensors that the gradients of roots will be added up in, in the order of the forward pass."""
    import torch

    waiting = [root.grad_fn for root in ([roots] if isinstance(roots, torch.Tensor) else roots)]
    seen, leaves = set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return leaves[::-1]


def _is_compiling(module: nn.Module) -> bool:
    """Return whether a module is what `torch.compile` has put around another one."""
    kind = type(module)
    return kind.__name__ == "OptimizedModule" and kind.__module__.startswith("torch._dynamo")


def _is_compiled(model: nn.Module, compiled: AbstractSet[int]) -> bool:
    """Return whether a model, or a part of it, was compiled in place, or is one of `compiled`, by their ids."""
    return any(id(module) in compiled or is_compiled(module) for module in model.modules())


def names_around(frame: FrameType | None) -> dict[int, str]:
    """Return the names that the script has for objects, by id: the innermost frame's first, then attributes of self.

    What a framework calls them counts where the script has no name, and `self` where nobody has another.
    """
    names: dict[int, str] = {}
    for name, value in sorted(_named_around(frame), key=lambda named: named[0] == "self"):
        if not name.startswith("__"):
            names.setdefault(id(value), name)
    return names


def objects_around(frame: FrameType | None) -> list[Any]:
    """Return the objects that the script has names for, and the modules inside of those that are modules."""
    import torch

    found = {id(value): value for _, value in _named_around(frame)}
    for value in list(found.values()):
        if issubclass(type(value), torch.nn.Module):
            found.update({id(module): module for module in value.modules()})
    return list(found.values())


def _named_around(frame: FrameType | None) -> Iterator[tuple[str, Any]]:
    for user in sorted(_user_frames(frame), key=is_library):
        local = variables_of(user)
        spaces = [local] if local is user.f_globals else [local, user.f_globals]
        if "self" in local:
            spaces.append(getattr(local["self"], "__dict__", {}))
        for space in spaces:
            yield from list(space.items())


def _user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if not (is_own(frame) or is_torch(frame)):
            yield frame
        frame = frame.f_back


def _size(module: nn.Module) -> int:
    from torch.nn.parameter import is_lazy

    return sum(parameter.numel() for parameter in module.parameters() if not is_lazy(parameter))


def _as_one(roots: Sequence[Root], loose: Sequence[Tensor], names: Mapping[int, str]) -> nn.Module:
    """Return one module with everything in it, which changes nothing in what it holds."""
    import torch

    if len(roots) == 1 and not loose:
        return roots[0].module
    whole = torch.nn.Module()
    for number, (module, outer, _) in enumerate(roots, 1):
        name = names.get(id(outer)) or names.get(id(module)) or f"model_{number}"
        whole._modules[_free(name, whole)] = module  # noqa: SLF001 - any name will do there
    for number, tensor in enumerate(loose, 1):
        # `register_parameter` takes no plain tensor.
        whole._parameters[_free(names.get(id(tensor), f"tensor_{number}"), whole)] = tensor  # type: ignore[assignment]  # noqa: SLF001
    return whole


def _free(name: str, module: nn.Module) -> str:
    taken = {*module._modules, *module._parameters}  # noqa: SLF001 - as above
    return name if name not in taken else next(f"{name}_{n}" for n in range(2, 1000) if f"{name}_{n}" not in taken)
