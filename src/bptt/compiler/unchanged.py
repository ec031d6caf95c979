"""Whether a cell is what it was: a fraction of what its fingerprint costs.

A fingerprint tells cells apart by value, and so finds a plan for a cell that is made like another.
A cell that is asked about again and again is the same object with the same objects in it, but for
what somebody has changed. So all places that a fingerprint reads are looked at, and nothing else:
what each of them holds must be the very object that it held. Objects that are equal and not the
same count as changed.
"""

import operator
import types
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn

from bptt.compiler.fingerprint import (
    ATOMS,
    FOREIGN,
    SETTINGS,
    STEADY,
    is_foreign,
    methods_of,
    own_classes,
)
from bptt.reach import names_of


class Unchanged:
    """What a cell holds, where all of it lies in modules, tensors, containers and their classes.

    >>> import torch
    >>> cell = torch.nn.RNNCell(2, 3)
    >>> known = Unchanged.of(cell)
    >>> known.holds(), known.holds() if cell.eval() else None
    (True, False)
    >>> Unchanged.of(lambda x, state: state) is None  # what a function names may be anything
    True
    """

    def __init__(self, places: "_Places") -> None:
        held = [*places.dicts, *places.lists]
        self._empty = [place for place in held if not place]
        self._dicts = [(place, [*place], [*place.values()]) for place in places.dicts if place]
        self._lists = [(place, [*place]) for place in places.lists if place]
        self._names = [(scope, name, scope[name]) for scope, name in places.names]
        self._objects = [(value, type(value)) for value in places.objects]
        self._tensors = [(tensor, _kind(tensor)) for tensor in places.tensors]

    @classmethod
    def of(cls, cell: Any) -> "Unchanged | None":
        """What a cell holds now; None where a fingerprint looks further than this does."""
        places = _Places()
        return cls(places) if places.visit(cell) else None

    def holds(self) -> bool:
        """Whether the cell is what it was: its fingerprint then is, too, with the same tensors."""
        if any(self._empty):
            return False
        for place, keys, values in self._dicts:
            if [*place] != keys or not all(map(_is, place.values(), values)):
                return False
        for tensor, kind in self._tensors:
            if _kind(tensor) != kind:
                return False
        for value, kind in self._objects:
            if type(value) is not kind:
                return False
        return self._elsewhere()

    def _elsewhere(self) -> bool:
        """The same of what lies in lists and among globals."""
        for place, values in self._lists:
            if len(place) != len(values) or not all(map(_is, place, values)):
                return False
        return all(scope.get(name) is value for scope, name, value in self._names)


_is = operator.is_


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.requires_grad, tensor.device


class _Places:
    """All that a fingerprint of a cell reads.

    Attributes:
        dicts: attributes of modules, objects and classes, and dicts in them.
        lists: other containers whose contents may change.
        tensors: in them.
        objects: whose class may change.
        names: of globals, with where they are looked up.
    """

    def __init__(self) -> None:
        self.dicts: list[Mapping[Any, Any]] = []
        self.lists: list[Collection[Any]] = []
        self.tensors: list[Tensor] = []
        self.objects: list[Any] = []
        self.names: list[tuple[dict[str, Any], str]] = []
        self._seen: set[int] = set()

    def visit(self, value: Any) -> bool:
        """Take in a value and what it holds; False if that may be more than is looked at here."""
        if type(value) in ATOMS or isinstance(value, STEADY) or id(value) in self._seen:
            return True
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self.tensors.append(value)
            return True
        if isinstance(value, dict):
            self.dicts.append(value)
            return self._all(chain(value, value.values()))
        if isinstance(value, (list, tuple, set, frozenset)):
            self.lists.append(value)
            return self._all(value)
        return self._object(value)

    def _all(self, values: Iterable[Any]) -> bool:
        return all(self.visit(value) for value in values)

    def _object(self, value: Any) -> bool:
        """A module, or an object of another class."""
        kind, home = type(value), type(value).__module__ or ""
        if not isinstance(value, nn.Module):
            if home.startswith(FOREIGN):
                return not callable(value)
            if callable(value) or not hasattr(value, "__dict__"):
                return False
        self.objects.append(value)
        self.dicts.append(vars(value))
        return self._all(vars(value).values()) and self._class(kind)

    def _class(self, kind: type) -> bool:
        """The user's own classes, and the globals that their methods name."""
        for own in own_classes(kind):
            self.dicts.append(vars(own))
            plain = (v for v in vars(own).values() if type(v) in SETTINGS)
            if not self._all(plain):
                return False
        return all(self._named(method) for method in methods_of(kind))

    def _named(self, method: types.FunctionType) -> bool:
        """The globals that a method names."""
        scope = method.__globals__
        found = [name for name in names_of(method.__code__) if name in scope]
        self.names += [(scope, name) for name in found]
        return all(self._global(scope[name]) for name in found)

    def _global(self, value: Any) -> bool:
        """A class of the user's may hold settings; a module of the user's may hold anything."""
        if isinstance(value, types.ModuleType):
            return is_foreign(value.__name__)
        if not isinstance(value, type):
            return self.visit(value)
        if is_foreign(value.__module__):
            return True
        held = vars(value).values()
        inner = any(isinstance(v, type) and not is_foreign(v.__module__) for v in held)
        self.dicts.append(vars(value))
        return not inner and self._all(v for v in held if type(v) in SETTINGS)
