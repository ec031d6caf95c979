"""What a traced step depends on in Python, as a key: a plan is used again only if it is the same.

The key holds, per module, its class, training flag, hooks and plain attributes by value, lists and
dicts too, and those of its class; per function its code, defaults, closure, the globals that it
names and what it may look up in modules and classes; each tensor's shape, dtype and need of a
gradient, and where one tensor stands in two places. Objects of other kinds count by identity and
are kept alive with the key. The tensors themselves are not part of it: they are read anew at each
call, in the order in which they are found.
"""

import functools
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bptt.reach import contents, names_of, remade

ATOMS = frozenset((int, float, complex, str, bytes, bool, type(None)))
STEADY = (type, types.ModuleType, types.BuiltinFunctionType, torch.dtype, torch.device)
FOREIGN = ("torch.", "numpy.", "builtins", "math", "bptt.", "functools", "itertools", "typing")
_LONGEST = 1024
_DEEPEST = 4
SETTINGS = ATOMS | {list, tuple, dict, set, frozenset}


class Fingerprint(NamedTuple):
    """What a cell is made of.

    Attributes:
        key: hashable; equal for cells whose steps do the same with their tensors.
        tensors: every tensor that was found, each once, in an order that the key fixes.
        opaque: what could not be looked into, in words; None if all could.
    """

    key: tuple
    tensors: list[Tensor]
    opaque: str | None


def fingerprint(cell: Any) -> Fingerprint:
    """The fingerprint of a cell.

    >>> cell = torch.nn.RNNCell(2, 3)
    >>> before = fingerprint(cell).key
    >>> before == fingerprint(cell).key, before == fingerprint(cell.eval()).key
    (True, False)
    """
    walk = _Walk()
    walk.visit(cell)
    return Fingerprint(tuple(walk.key), walk.tensors, walk.opaque)


class _Walk:
    def __init__(self) -> None:
        self.key: list[Any] = []
        self.tensors: list[Tensor] = []
        self.opaque: str | None = None
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []

    def visit(self, value: Any) -> None:
        kind = type(value)
        if kind in ATOMS:
            self.key.append(kind)
            self.key.append(value)
            return
        known = self._seen.get(id(value))
        if known is not None:
            self.key.append(("again", known))
            return
        self._seen[id(value)] = len(self._seen)
        visit = _visitor(kind)
        if visit is None:
            self._other(value)
        else:
            visit(self, value)

    def _tensor(self, tensor: Tensor) -> None:
        self.tensors.append(tensor)
        self.key.append((tensor.shape, tensor.dtype, tensor.requires_grad, tensor.device))

    def _module(self, module: nn.Module) -> None:
        kind, held = type(module), vars(module)
        self.key += (kind, held.get("training"))
        for name in _CONTENTS:
            values = held.get(name)
            if values:
                self._contents(name, values)
        for name, value in held.items():
            if name not in _OF_EVERY_MODULE:
                self._attribute(module, name, value)
        if any(map(held.get, _HOOKS)):
            for name in _HOOKS:
                self._attribute(module, name, held.get(name))
        if own_classes(kind):
            self._class(kind)
            for method in methods_of(kind):
                self._named(method)

    def _contents(self, name: str, values: Any) -> None:
        """Parameters, buffers or submodules."""
        if len(values) > _LONGEST:
            self._dict(values)
            return
        self.key += (name, len(values))
        for key, value in values.items():
            self.key.append(key)
            self.visit(value)

    def _attribute(self, module: nn.Module, name: str, value: Any) -> None:
        kind = type(value)
        if kind in ATOMS:
            self.key += (name, kind, value)
        elif isinstance(value, dict) and not value:
            return  # hooks that there are none of, for the most part
        elif not remade(module, value):
            self.key.append(name)
            self.visit(value)

    def _function(self, function: types.FunctionType) -> None:
        self.key.append(function.__code__)
        if (function.__module__ or "").startswith(FOREIGN):
            return
        self._named(function)
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            if part:
                self.visit(part)
        for content in contents(function.__closure__).values():
            self.visit(content)

    def _named(self, function: types.FunctionType) -> None:
        """The globals that a function's code names, where they could change what it does."""
        scope = function.__globals__
        for name in names_of(function.__code__):
            if name in scope:
                value = scope[name]
                if isinstance(value, (types.ModuleType, type)):
                    self._looked_up(value, function.__code__)
                else:
                    self.key.append(name)
                    self.visit(value)

    def _looked_up(self, scope: types.ModuleType | type, code: types.CodeType) -> None:
        """What code may look up in a module or class of the user's: `settings.alpha`."""
        home = scope.__name__ if isinstance(scope, types.ModuleType) else scope.__module__
        if is_foreign(home):
            return
        held = vars(scope)
        for name in attributes_of(code):
            value = held.get(name)
            if isinstance(value, (types.ModuleType, type)):
                if id(value) not in self._seen:
                    self._seen[id(value)] = len(self._seen)
                    self._looked_up(value, code)
            elif name in held:
                self.key.append(name)
                self._setting(value)

    def _class(self, kind: type) -> None:
        """What the user's classes hold besides functions: `alpha = 0.5` in a class's body."""
        for own in own_classes(kind):
            for name, value in vars(own).items():
                if type(value) in SETTINGS and not name.startswith("__"):
                    self.key.append(name)
                    self._setting(value)

    def _setting(self, value: Any, depth: int = 0) -> None:
        """A number or text by value, in containers too; all else counts by identity."""
        kind = type(value)
        if kind in ATOMS:
            self.key += (kind, value)
        elif isinstance(value, Tensor):
            self.key.append((value.shape, value.dtype, value.requires_grad, value.device))
        elif kind not in SETTINGS or depth > _DEEPEST or len(value) > _LONGEST:
            self.key.append(_Same(value))
        else:
            self.key.append((kind, len(value)))
            for item in (*value, *value.values()) if kind is dict else value:
                self._setting(item, depth + 1)

    def _method(self, method: types.MethodType) -> None:
        self.visit(method.__func__)
        self.visit(method.__self__)

    def _partial(self, partial: functools.partial) -> None:
        self.visit(partial.func)
        self.visit(partial.args)
        self.visit(partial.keywords)

    def _sequence(self, values: Any) -> None:
        self.key.append((type(values), len(values)))
        if len(values) > _LONGEST:
            self.opaque = f"a {type(values).__name__} of {len(values)} things"
            return
        for value in values:
            self.visit(value)

    def _dict(self, values: dict) -> None:
        self.key.append((type(values), len(values)))
        if len(values) > _LONGEST:
            self.opaque = f"a dict of {len(values)} things"
            return
        for key, value in values.items():
            self.visit(key)
            self.visit(value)

    def _other(self, value: Any) -> None:
        """By identity; the object lives on in the key, so that no other can take its id."""
        self.key.append(_Same(value))
        if isinstance(value, STEADY) or (callable(value) and not hasattr(value, "__dict__")):
            return
        module = type(value).__module__ or ""
        if hasattr(value, "__dict__") and not module.startswith(FOREIGN):
            self._class(type(value))
            self.visit(vars(value))
        elif type(value).__name__ == "ndarray":
            self.opaque = "a numpy array, whose numbers may change unseen (make it a buffer)"


class _Same:
    """Equal only for one and the same object."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


_CONTENTS = ("_parameters", "_buffers", "_modules")
# What every module has besides: mostly empty, and what the last two remember says nothing.
_HOOKS = tuple(
    name
    for name, value in vars(nn.Module()).items()
    if isinstance(value, dict) and name not in _CONTENTS
)
_OF_EVERY_MODULE = frozenset((*vars(nn.Module()), "_flat_weights", "_flat_weight_refs"))


@functools.cache
def own_classes(kind: type) -> tuple[type, ...]:
    """A class and those that it is made of, the user's own among them."""
    return tuple(c for c in kind.__mro__ if not c.__module__.startswith(FOREIGN))


@functools.cache
def is_foreign(home: str) -> bool:
    """Whether a module is not the user's."""
    return f"{home}.".startswith(FOREIGN) or home.partition(".")[0] in sys.stdlib_module_names


@functools.cache
def attributes_of(code: types.CodeType) -> tuple[str, ...]:
    """Every name in code, nested functions' included."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return tuple(dict.fromkeys([*code.co_names, *(n for c in inner for n in attributes_of(c))]))


@functools.cache
def methods_of(kind: type) -> tuple[types.FunctionType, ...]:
    """The functions of a user's class, whose globals its steps may read."""
    found = [value for c in own_classes(kind) for value in vars(c).values()]
    unwrapped = [getattr(v, "__func__", getattr(v, "fget", v)) for v in found]
    return tuple(v for v in unwrapped if isinstance(v, types.FunctionType))


@functools.cache
def _visitor(kind: type) -> Callable[[_Walk, Any], None] | None:
    for known, visit in (
        (Tensor, _Walk._tensor),
        (nn.Module, _Walk._module),
        (types.FunctionType, _Walk._function),
        (types.MethodType, _Walk._method),
        (functools.partial, _Walk._partial),
        (dict, _Walk._dict),
        ((list, tuple, set, frozenset), _Walk._sequence),
    ):
        if issubclass(kind, known):
            return visit
    return None
