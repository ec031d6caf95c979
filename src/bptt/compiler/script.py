"""Operations written down as Python."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.compiler.record import Operation, Ref, results_of

aten = torch.ops.aten
# torch's own functions for the commonest operations: the same, at two thirds of the call's cost.
# The others are called past the wrapper around them.
FAST = {
    aten.abs.default: torch.abs,
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.cat.default: torch.cat,
    aten.clone.default: torch.clone,
    aten.div.Scalar: torch.div,
    aten.div.Tensor: torch.div,
    aten.ge.Scalar: torch.ge,
    aten.gt.Scalar: torch.gt,
    aten.le.Scalar: torch.le,
    aten.lt.Scalar: torch.lt,
    aten.lt.Tensor: torch.lt,
    aten.mm.default: torch.mm,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.sigmoid.default: torch.sigmoid,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.t.default: Tensor.t,
    aten.tanh.default: torch.tanh,
    aten.transpose.int: Tensor.transpose,
    aten.unsafe_split.Tensor: torch.unsafe_split,
    aten.view.default: Tensor.view,
}


def _done_with(body: Sequence[Operation], results: Iterable[Ref | None]) -> list[list[Ref]]:
    """For each operation, what was made before and is not used after it."""
    made = results_of(body)
    needed, done = set(results), []
    for operation in reversed(body):
        names = [name for name in dict.fromkeys(operation.operands) if name in made - needed]
        needed.update(names)
        done.append(names)
    return done[::-1]


class Script:
    """Operations as lines of Python; what Python cannot spell goes into the namespace."""

    def __init__(self) -> None:
        self._namespace: dict[str, Any] = {}
        self._functions: list[str] = []

    @property
    def source(self) -> str:
        """The functions, to read."""
        return "\n\n".join(self._functions)

    def run(self) -> dict[str, Any]:
        """The functions by name."""
        exec(compile(self.source, "<bptt program>", "exec"), self._namespace)
        return self._namespace

    def function(
        self, name: str, arguments: Iterable[Ref], body: Sequence[Operation], results: Iterable
    ) -> None:
        """Add a function that takes `arguments`, does what `body` says and returns `results`."""
        results = list(results)
        lines = [f"def {name}({', '.join(dict.fromkeys(arguments))}):"]
        for operation, done in zip(body, _done_with(body, results), strict=True):
            lines.append(f"    {self._line(operation)}")
            if done:  # what is not needed any more takes up no memory
                lines.append(f"    del {', '.join(done)}")
        returned = "".join(f"{result}, " for result in results)
        self._functions.append("\n".join([*lines, f"    return ({returned})", ""]))

    def _line(self, operation: Operation) -> str:
        packet, overload = operation.func._schema.name.removeprefix("aten::"), operation.func
        name = packet.replace("::", "_") + ("" if overload._overloadname == "default" else "_")
        name += "" if overload._overloadname == "default" else overload._overloadname
        self._namespace[name] = FAST.get(operation.func, operation.func._op)
        given = [self._spell(value) for value in operation.args]
        given += [f"{key}={self._spell(value)}" for key, value in operation.kwargs]
        targets = ", ".join(result or "_" for result in operation.results)
        comma = "," if _is_list(operation) else ""
        return f"{targets}{comma} = {name}({', '.join(given)})"

    def _spell(self, value: Any) -> str:
        if isinstance(value, Ref):
            return value
        if isinstance(value, tuple):
            return f"[{', '.join(self._spell(item) for item in value)}]"
        if isinstance(value, (int, str, type(None))) or (
            isinstance(value, float) and math.isfinite(value)
        ):
            return repr(value)
        name = f"k{len(self._namespace)}"
        self._namespace[name] = value
        return name


def _is_list(operation: Operation) -> bool:
    """Whether one result comes inside a list or tuple."""
    declared = operation.func._schema.returns
    return len(operation.results) == 1 and str(declared[0].type).startswith("List")
