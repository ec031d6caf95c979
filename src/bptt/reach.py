"""What a recurrent step reaches otherwise than by its arguments, and a copy of the cell to hold it.

A step is run again in the backward pass, perhaps long after the caller has switched the module to
`eval()`, drawn a new dropout mask or rebound the tensor that a function closes over. So an unroll
works on a copy of the cell as it was at the call: modules are copied one by one (tensors are
shared, never cloned), and so are functions whose closure, defaults or globals hold a tensor. In the
copy every tensor that needs a gradient is a leaf of its own, standing in for the caller's, which
becomes an input of the unroll. Hence the caller's tensors, leaf or not, get their gradient once,
after the whole recursion, and hooks on them run once.
"""

import dis
import enum
import functools
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Attributes that every nn.Module has; none of them is the user's.
_MODULE_OWN = frozenset(vars(nn.Module()))
_FOREIGN = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "lightning", "bptt"}
_ATOMS = (int, float, complex, str, bytes, bool, type(None), type, types.ModuleType, torch.dtype)
# Longer containers are taken for data, not for weights; a weight in there is found at the first
# step, by the graph it leaves, and named in an error.
_LONGEST = 1024
_DEEPEST = 4
_MOST = 4096
# Kinds without a content of their own that a step could change.
_STEADY = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
    torch.jit.ScriptFunction,
    enum.Enum,
    weakref.ReferenceType,
    range,
    slice,
)

# What copies a thing that a step may have changed.
_HOLDERS = frozenset(("_function", "_dict", "_sequence", "_instance"))

Substitute = Callable[[Tensor], Tensor]


class CellCopy:
    """The cell as it is now, with `substitute(tensor)` in place of every tensor found in it.

    What holds a tensor is copied and all the rest is shared.

    Attributes:
        cell: the copy.
        modules: every module in it.
        opaque: whether something was found that could not be looked into.
    """

    def __init__(self, cell: Any, substitute: Substitute) -> None:
        self._substitute = substitute
        self.modules: list[nn.Module] = []
        self.opaque = False
        self._holders: list[tuple[Any, dict]] = []
        self._done: dict[int, Any] = {}
        self._alive: list[Any] = []  # keeps the ids in `_done` from being used again
        self.cell = self.copy(cell)
        del self._substitute  # it may know of this copy: no cycle for the collector to find

    def changed(self) -> list[tuple[Any, dict]]:
        """Lists, dicts, objects and functions that the step sees and that are not as they were.

        With each, what it held before.
        """
        return [pair for pair in self._holders if not _same(content(pair[0]), pair[1])]

    def copy(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, _ATOMS):
            return value
        if id(value) in self._done:
            return self._done[id(value)]
        copier = self._copier_of(value)
        if copier is None or len(self._alive) > _MOST:
            self.opaque = self.opaque or not isinstance(value, _STEADY)
            return value
        self._alive.append(value)
        self._done[id(value)] = value  # what a cycle meets on its way back
        self._done[id(value)] = copied = copier(value, depth)
        if copied is not value:
            self._alive.append(copied)
        if copier.__name__ in _HOLDERS:
            self._holders.append((copied, content(copied)))
        return copied

    def _copier_of(self, value: Any) -> Callable[[Any, int], Any] | None:
        name = _copier(type(value))
        if name is None and hasattr(value, "__dict__"):
            name = "_instance"
        return getattr(self, name) if name else None

    def _tensor(self, tensor: Tensor, depth: int) -> Tensor:
        return self._substitute(tensor)

    def _module(self, module: nn.Module, depth: int) -> nn.Module:
        copied = object.__new__(type(module))
        self._done[id(module)] = copied
        self.modules.append(copied)
        attributes = vars(copied)
        attributes.update(vars(module))
        for name in ("_parameters", "_buffers", "_modules"):
            attributes[name] = {key: self.copy(v) for key, v in attributes[name].items()}
        for name, value in attributes.items():
            if name.endswith("_hooks") and name in _MODULE_OWN:
                attributes[name] = value.copy()
            elif name not in _MODULE_OWN and not remade(module, value):
                attributes[name] = self.copy(value)
        self._forward_globals(copied)
        return copied

    def _forward_globals(self, module: nn.Module) -> None:
        """A `forward` that names a global tensor: the copy gets its own, which names a leaf."""
        forward = type(module).forward
        if "forward" in vars(module) or not isinstance(forward, types.FunctionType):
            return
        copied = self.copy(forward)
        if copied is not forward:
            vars(module)["forward"] = types.MethodType(copied, module)

    def _function(self, function: types.FunctionType, depth: int) -> Any:
        if (function.__module__ or "").partition(".")[0] in _FOREIGN:
            return function
        cells = self._changed(contents(function.__closure__))
        defaults = self._changed(dict(enumerate(function.__defaults__ or ())))
        keywords = self._changed(function.__kwdefaults__ or {})
        named = self._changed(_globals(function))
        if not (cells or defaults or keywords or named):
            return function
        closure = tuple(
            types.CellType(cells[i]) if i in cells else cell
            for i, cell in enumerate(function.__closure__ or ())
        )
        scope = {**function.__globals__, **named} if named else function.__globals__
        copied = types.FunctionType(function.__code__, scope, function.__name__, None, closure)
        given = function.__defaults__ or ()
        copied.__defaults__ = tuple(defaults.get(i, v) for i, v in enumerate(given)) or None
        copied.__kwdefaults__ = {**(function.__kwdefaults__ or {}), **keywords} or None
        vars(copied).update(vars(function))
        return copied

    def _changed(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """Those of the values that hold a tensor, copied."""
        copies = {key: self.copy(value) for key, value in values.items()}
        return {key: copied for key, copied in copies.items() if copied is not values[key]}

    def _method(self, method: types.MethodType, depth: int) -> Any:
        owner, function = self.copy(method.__self__), self.copy(method.__func__)
        if owner is method.__self__ and function is method.__func__:
            return method
        return types.MethodType(function, owner)

    def _partial(self, partial: functools.partial, depth: int) -> Any:
        function = self.copy(partial.func)
        arguments, keywords = self.copy(partial.args), self.copy(partial.keywords)
        same = function is partial.func and arguments is partial.args
        if same and keywords is partial.keywords:
            return partial
        return functools.partial(function, *arguments, **keywords)

    def _dict(self, values: dict, depth: int) -> Any:
        if len(values) > _LONGEST:
            self.opaque = True
            return values
        changed = self._changed(values)
        if not changed:
            return values
        copied = values.copy()
        copied.update(changed)
        return copied

    def _sequence(self, values: Any, depth: int) -> Any:
        if len(values) > _LONGEST:
            self.opaque = True
            return values
        copies = [self.copy(value, depth) for value in values]
        if all(copied is value for copied, value in zip(copies, values, strict=True)):
            return values
        return type(values)(*copies) if hasattr(values, "_fields") else type(values)(copies)

    def _instance(self, value: Any, depth: int) -> Any:
        """An object of the user's, and those in it down to some depth."""
        if depth >= _DEEPEST or type(value).__module__.partition(".")[0] in _FOREIGN:
            self.opaque = True
            return value
        inside = {name: self.copy(attribute, depth + 1) for name, attribute in vars(value).items()}
        if all(inside[name] is attribute for name, attribute in vars(value).items()):
            return value
        copied = object.__new__(type(value))
        vars(copied).update(inside)
        return copied


@functools.lru_cache(maxsize=1024)
def _copier(kind: type) -> str | None:
    """The method that copies things of a kind; "" for what is shared, None where it depends."""
    for known, name in (
        (Tensor, "_tensor"),
        (torch.jit.ScriptModule, ""),  # compiled code finds its weights by itself
        (nn.Module, "_module"),
        (types.FunctionType, "_function"),
        (types.MethodType, "_method"),
        (functools.partial, "_partial"),
        (dict, "_dict"),
        ((list, tuple, set, frozenset), "_sequence"),
    ):
        if issubclass(kind, known):
            return name
    return None


def remade(module: nn.Module, value: Any) -> bool:
    """Whether an attribute is a weight that a hook computes anew before each call."""
    return isinstance(value, Tensor) and not value.is_leaf and bool(module._forward_pre_hooks)


def content(holder: Any) -> dict[Any, Any]:
    """What a container, object or function holds, by place."""
    if isinstance(holder, types.FunctionType):
        return {**contents(holder.__closure__), **_globals(holder)}
    if isinstance(holder, dict):
        return dict(holder)
    if isinstance(holder, (list, tuple, set, frozenset)):
        return dict(enumerate(holder))
    return dict(vars(holder))


def _same(content: dict[Any, Any], before: dict[Any, Any]) -> bool:
    """Whether the same things are in the same places; numbers and strings by value."""
    return content.keys() == before.keys() and all(
        value is before[key] or (isinstance(value, _ATOMS) and value == before[key])
        for key, value in content.items()
    )


def _globals(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function's code names."""
    scope = function.__globals__
    return {name: scope[name] for name in names_of(function.__code__) if name in scope}


def contents(closure: Iterable[types.CellType] | None) -> dict[int, Any]:
    """What the cells of a closure hold; one that is still empty is left out."""
    contents = {}
    for index, cell in enumerate(closure or ()):
        try:
            contents[index] = cell.cell_contents
        except ValueError:  # empty: a name that is bound later, so not one this step has used
            continue
    return contents


@functools.cache
def names_of(code: types.CodeType) -> tuple[str, ...]:
    """Names that code looks up among its globals, nested functions' included."""
    looked_up = (i.argval for i in dis.get_instructions(code) if i.opname in _LOOK_UPS)
    names = dict.fromkeys(looked_up)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(dict.fromkeys(names_of(constant)))
    return tuple(names)


_LOOK_UPS = ("LOAD_GLOBAL", "LOAD_NAME")
