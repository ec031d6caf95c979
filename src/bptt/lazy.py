"""Packages whose names are imported when they are first used: torch alone takes seconds."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from bptt.garbage import uncollected


def make_lazy(package: str, defined: Mapping[str, Sequence[str]]) -> None:
    """Let a package give what it lists in `__all__` without importing it beforehand.

    Type checkers see the names by imports under TYPE_CHECKING.

    Args:
        package: its name.
        defined: by module of the package, the names that it defines. What else `__all__` has is
            there already, or is itself a module of the package.
    """
    module = sys.modules[package]
    homes = {name: home for home, names in defined.items() for name in names}
    module.__dict__["_homes"] = homes
    module.__class__ = Lazy


class Lazy(ModuleType):
    """A package that imports its names when they are first used."""

    __all__: list[str]
    _homes: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__["__all__"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with uncollected():
            home = import_module(f"{self.__name__}.{self._homes.get(name, name)}")
        value = getattr(home, name) if name in self._homes else home
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Once a module of the package is imported, Python puts it into the package by its name.
        # bptt.unroll is to stay the function of that name.
        if isinstance(value, ModuleType) and self._homes.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> Iterable[str]:
        return sorted({*self.__all__, *(n for n in super().__dir__() if n.startswith("__"))})
