"""What depends on weights alone: computed once a call, and differentiated by autograd itself."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.compiler import pulls
from bptt.compiler.record import Operation, Ref
from bptt.compiler.writing import function

Fixed = dict[Ref, Tensor]


_METHODS = {torch.ops.aten.t.default: "t", torch.ops.aten.view.default: "view"}


class Once:
    """The operations of a step on weights and constants alone, as `operations`.

    Args:
        operations: in order.
        wanted: the results that are needed.
        untracked: results that the step computed under no_grad.
        detached: by an operation's first result, the operands that it took without their history.
        constants: tensors written in the step's code.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        wanted: Iterable[Ref],
        untracked: frozenset[Ref],
        detached: dict[Ref, frozenset[Ref]],
        constants: Fixed,
    ) -> None:
        needed, kept = set(wanted), []
        for operation in reversed(operations):
            if needed & {name for name in operation.results if name}:
                kept.append(operation)
                needed |= set(refs((operation.args, operation.kwargs)))
        self.operations = kept[::-1]
        self._untracked, self._detached, self._constants = untracked, detached, constants
        self._names: tuple[Ref, ...] = ()
        self._pulls: dict[tuple, Callable[..., tuple]] = {}

    def run(self, own: Sequence[Tensor]) -> Fixed:
        """The fixed tensors by name, w0 and so on, with what is made of them."""
        fixed = {**dict(zip(self._own(len(own)), own, strict=True)), **self._constants}
        if self.operations:
            self._written(fixed)
        return fixed

    @functools.cached_property
    def _written(self) -> Callable[[Fixed], None]:
        """The operations as Python: looking up their arguments anew takes several times as long."""
        namespace: dict[str, Any] = {"many": _many}
        lines = ["def run(fixed):"]
        for number, operation in enumerate(self.operations):
            lines += self._short(operation) or self._spelled(number, operation, namespace)
        return function("\n    ".join([*lines, ""]), "run", namespace)

    def _short(self, operation: Operation) -> list[str]:
        """Another view as a tensor's own method: the operator's call costs three times as much."""
        method, name = _METHODS.get(operation.func), operation.results[0]
        if method is None or name in self._untracked or name in self._detached:
            return []
        tensor, *sizes = operation.args
        return [
            f"fixed[{str(name)!r}] = fixed[{str(tensor)!r}].{method}({', '.join(map(str, sizes))})"
        ]

    def _spelled(self, number: int, operation: Operation, namespace: dict[str, Any]) -> list[str]:
        func, args, kwargs, results = operation
        cut = self._detached.get(next(name for name in results if name), frozenset())
        namespace[f"f{number}"] = func
        given = [_source(value, cut, namespace) for value in args]
        given += [f"{key}={_source(value, cut, namespace)}" for key, value in kwargs]
        lines = [f"found = many(f{number}({', '.join(given)}))"]
        parts = (f"found[{i}]" for i in range(len(results)))
        for name, part in zip(results, parts, strict=False):
            if name is not None:
                end = ".detach()" if name in self._untracked else ""
                lines.append(f"fixed[{str(name)!r}] = {part}{end}")
        return lines

    def _own(self, count: int) -> tuple[Ref, ...]:
        """w0 and so on."""
        if len(self._names) != count:
            self._names = tuple(Ref(f"w{i}") for i in range(count))
        return self._names

    def _results(self, operation: Operation, fixed: Fixed) -> Fixed:
        func, args, kwargs, results = operation
        cut = self._detached.get(next(name for name in results if name))
        if cut is not None:
            fixed = {**fixed, **{name: fixed[name].detach() for name in cut}}
        found = func(*_looked_up(args, fixed), **dict(_looked_up(kwargs, fixed)))
        return {
            name: tensor.detach() if name in self._untracked else tensor
            for name, tensor in zip(results, _many(found), strict=False)
            if name is not None
        }

    def pull(
        self, own: Sequence[Tensor], wanted: Sequence[bool], gradients: Fixed
    ) -> list[Tensor | None]:
        """The gradient to each own tensor, from those to what is made of them.

        Each gradient is the whole one to its value, with what reaches it through other values. So
        it goes on from there to the weights, but not through a value that has a gradient of its
        own.

        Args:
            own: the fixed tensors, w0 and so on.
            wanted: which of them need a gradient.
            gradients: dE/d(value) by the value's name.
        """
        direct = [gradients.get(name) for name in self._own(len(own))]
        if sum(gradient is not None for gradient in direct) == len(gradients):
            return direct
        asked = tuple(wanted), tuple(gradients)
        again = self._pulls.get(asked)
        if again is not None and not torch.is_grad_enabled():
            pulled = again(*own, *gradients.values())
        else:
            pulled = self._differentiated(own, wanted, gradients, asked)
        return [g if p is None else p for g, p in zip(direct, pulled, strict=True)]

    def _differentiated(
        self, own: Sequence[Tensor], wanted: Sequence[bool], gradients: Fixed, asked: tuple
    ) -> Sequence[Tensor | None]:
        """What autograd gives; how, is remembered if it would be the same for other numbers."""
        needs = [
            need and name not in gradients
            for name, need in zip(self._own(len(own)), wanted, strict=True)
        ]
        leaves = [t.detach().requires_grad_(need) for t, need in zip(own, needs, strict=True)]

        def differentiate() -> Sequence[Tensor | None]:
            roots, seeds = self.roots(leaves, gradients)
            return pulls.gradients(roots, leaves, seeds)

        if not pulls.are_steady(self.operations):
            return differentiate()
        seeds = list(gradients.values())
        found, again = pulls.pull(differentiate, list(self._constants.values()), leaves, seeds)
        if again is not None:
            self._pulls[asked] = again
        return found

    def roots(self, leaves: Sequence[Tensor], gradients: Fixed) -> tuple[list, list]:
        """What the weights are made into, cut apart wherever a gradient is known."""
        fixed = {Ref(f"w{i}"): leaf for i, leaf in enumerate(leaves)} | self._constants
        roots, seeds = [], []
        with torch.enable_grad():
            for operation in self.operations:
                for name, value in self._results(operation, fixed).items():
                    known = gradients.get(name)
                    if known is not None and value.requires_grad:
                        roots.append(value)
                        alike = known.shape == value.shape
                        seeds.append(known if alike else known.reshape(value.shape))
                    fixed[name] = value if known is None else value.detach()
        return roots, seeds


def _many(found: Any) -> Any:
    return found if isinstance(found, (tuple, list)) else (found,)


def _source(value: Any, cut: frozenset[Ref], namespace: dict[str, Any]) -> str:
    """An argument as an expression."""
    if isinstance(value, Ref):
        return f"fixed[{str(value)!r}]" + (".detach()" if value in cut else "")
    if isinstance(value, tuple):
        return f"({''.join(f'{_source(item, cut, namespace)}, ' for item in value)})"
    name = f"c{len(namespace)}"
    namespace[name] = value
    return name


def _looked_up(value: Any, fixed: Fixed) -> Any:
    if isinstance(value, Ref):
        return fixed[value]
    return tuple(_looked_up(item, fixed) for item in value) if isinstance(value, tuple) else value


def refs(value: Any) -> list[Ref]:
    """The tensors in an operation's arguments, by name, each once, in order."""
    found: dict[Ref, None] = {}
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Ref):
            found[item] = None
        elif isinstance(item, tuple):
            stack.extend(reversed(item))
    return list(found)
