"""What a step does, written down operation by operation while it runs.

Tensors are told apart by the memory they view, so that a tensor is recognised whichever Python
object it comes in; all of them are kept alive until the recording ends, so that no memory is used
twice. A recording is plain data: two are equal exactly if the same operations were applied to the
same operands with the same numbers.
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Ref(str):
    """The name of a tensor in a recording: an argument's, or `v{operation}_{output}`."""

    __slots__ = ()


class Operation(NamedTuple):
    """One operation: `results = func(*args, **dict(kwargs))`, tensors by name."""

    func: Any
    args: tuple
    kwargs: tuple
    results: tuple[Ref | None, ...]

    @property
    def operands(self) -> list[Ref]:
        """The tensors it takes."""
        found: list[Ref] = []
        stack: list[Any] = [self.args, self.kwargs]
        while stack:
            value = stack.pop()
            if isinstance(value, Ref):
                found.append(value)
            elif isinstance(value, tuple):
                stack.extend(value)
        return found


def arguments_of(operations: Iterable[Operation]) -> set[Ref]:
    """All the tensors that operations take."""
    return {name for operation in operations for name in operation.operands}


def results_of(operations: Iterable[Operation]) -> set[Ref]:
    """All that they give."""
    return {name for operation in operations for name in operation.results if name}


class Recording(TorchDispatchMode):
    """While active, writes down every operation.

    Attributes:
        operations: what was done, in order.
        reason: why this cannot be run again on other numbers, or None if it can.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # never inside torch.compile, whose import would cost a second

    def __init__(self, **arguments: list[Tensor]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.reason: str | None = None
        self._names: dict[tuple, Ref] = {}
        self._alive: list[Any] = []
        self.add(**arguments)

    def add(self, **arguments: list[Tensor]) -> None:
        """Name tensors that come from outside: `add(x=[a, b])` names them x0 and x1."""
        for name, tensors in arguments.items():
            for index, tensor in enumerate(tensors):
                self._names.setdefault(view_of(tensor), Ref(f"{name}{index}"))
                self._alive.append(tensor)

    def know(self, name: str, tensor: Tensor) -> None:
        """Name one more tensor that comes from outside."""
        with torch._C.DisableTorchFunction():
            self._names[view_of(tensor)] = Ref(name)
        self._alive.append(tensor)

    def name(self, tensor: Tensor) -> Ref | None:
        """The name of a tensor, None if it came from nowhere that was seen."""
        return self._names.get(view_of(tensor))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.reason is None:
            with torch._C.DisableTorchFunction():  # what is looked at here is no look of the step's
                self._write(func, args, kwargs, result)
        return result

    def _write(self, func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        self.reason = _cannot_replay(func)
        encoded = self._encode(args), self._encode(tuple(kwargs.items()))
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        names: list[Ref | None] = []
        for index, tensor in enumerate(outputs):
            if not isinstance(tensor, Tensor):
                names.append(None)
                continue
            name = Ref(f"v{len(self.operations)}_{index}")
            names.append(name)
            self._names[view_of(tensor)] = name
        self._alive.append((args, result))
        self.operations.append(Operation(func, *encoded, tuple(names)))

    def _encode(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            name = self.name(value)
            if name is None:
                self.reason = f"it takes a tensor of shape {tuple(value.shape)} from outside"
            return name
        if isinstance(value, (tuple, list)):
            return tuple(self._encode(item) for item in value)
        return value


class Watch(TorchFunctionMode):
    """While active, tells a recording of what a step does that leaves no operation behind."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in UNSEEN:
            self._recording.reason = f"{func.__name__} leaves the graph"
        return func(*args, **(kwargs or {}))


# Data read without an operation, and hooks, which run in the backward pass.
UNSEEN = {
    Tensor.__array__,
    Tensor.__dlpack__,
    Tensor.__format__,
    Tensor.__repr__,
    Tensor.data_ptr,
    Tensor.numpy,
    Tensor.register_hook,
    Tensor.tolist,
    Tensor.untyped_storage,
}


def view_of(tensor: Tensor) -> tuple:
    bits = tensor.is_conj(), tensor.is_neg()
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), bits


DATA_DEPENDENT = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


@functools.cache
def _cannot_replay(func: Any) -> str | None:
    if torch.Tag.nondeterministic_seeded in func.tags:
        return f"{func} draws random numbers"
    if any(tag in func.tags for tag in DATA_DEPENDENT):
        return f"{func} makes Python depend on the data"
    return None
