"""What depends on weights alone: computed once a call, and differentiated by autograd itself."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.compiler import pulls
from bptt.compiler.record import Operation, Ref
from bptt.compiler.script import Script

Fixed = dict[Ref, Tensor]


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
        wanted = set(wanted)
        needed, kept = set(wanted), []
        for operation in reversed(operations):
            if needed & {name for name in operation.results if name}:
                kept.append(operation)
                needed |= set(refs((operation.args, operation.kwargs)))
        self.operations = kept[::-1]
        made = (name for operation in self.operations for name in operation.results)
        self._wanted = tuple([name for name in made if name in wanted])
        self._untracked, self._detached, self._constants = untracked, detached, constants
        self._names: tuple[Ref, ...] = ()
        self._pulls: dict[tuple, Callable[..., tuple]] = {}

    def run(self, own: Sequence[Tensor]) -> Fixed:
        """The fixed tensors by name, w0 and so on, with what is wanted of them; no history."""
        fixed = {**dict(zip(self._own(len(own)), own, strict=True)), **self._constants}
        if self.operations:
            fixed.update(zip(self._wanted, self._made(*fixed.values()), strict=True))
        return fixed

    @functools.cached_property
    def _made(self) -> Callable[..., tuple]:
        """The operations as Python: looking up their arguments anew takes several times as long."""
        script = Script()
        given = (*self._names, *map(Ref, self._constants))
        script.function("made", given, self.operations, self._wanted)
        return script.run()["made"]

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
