"""What depends on weights alone: computed once a call, and differentiated by autograd itself."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptt.compiler.record import Operation, Ref

Fixed = dict[Ref, Tensor]


class Once:
    """The operations of a step on weights and constants alone.

    Args:
        operations: in order.
        wanted: the results that are needed.
        untracked: results that the step computed under no_grad.
    """

    def __init__(
        self, operations: Sequence[Operation], wanted: Iterable[Ref], untracked: frozenset[Ref]
    ) -> None:
        needed, kept = set(wanted), []
        for operation in reversed(operations):
            if needed & {name for name in operation.results if name}:
                kept.append(operation)
                needed |= set(refs((operation.args, operation.kwargs)))
        self._operations = kept[::-1]
        self._untracked = untracked

    def run(self, fixed: Fixed) -> Fixed:
        """Adds to fixed tensors what is made of them."""
        for func, args, kwargs, results in self._operations:
            found = func(*_looked_up(args, fixed), **dict(_looked_up(kwargs, fixed)))
            many = found if isinstance(found, (tuple, list)) else (found,)
            for name, tensor in zip(results, many, strict=False):
                if name is not None:
                    fixed[name] = tensor.detach() if name in self._untracked else tensor
        return fixed

    def pull(
        self, own: Sequence[Tensor], wanted: Sequence[bool], gradients: dict[Ref, Tensor]
    ) -> list[Tensor | None]:
        """The gradient to each own tensor, from those to what is made of them.

        Args:
            own: the fixed tensors, w0 and so on.
            wanted: which of them need a gradient.
            gradients: dE/d(value) by the value's name.
        """
        found: list[Tensor | None] = [gradients.get(Ref(f"w{i}")) for i in range(len(own))]
        made = [name for name in gradients if not name.startswith("w")]
        if not made:
            return found
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(need) for t, need in zip(own, wanted, strict=True)]
            values = self.run({Ref(f"w{i}"): leaf for i, leaf in enumerate(leaves)})
        roots = [values[name] for name in made]
        seeds = [gradients[name].reshape(values[name].shape) for name in made]
        targets = [leaf for leaf in leaves if leaf.requires_grad]
        pulled = torch.autograd.grad(roots, targets, seeds, allow_unused=True)
        by_leaf = {id(leaf): gradient for leaf, gradient in zip(targets, pulled, strict=True)}
        for index, leaf in enumerate(leaves):
            gradient, direct = by_leaf.get(id(leaf)), found[index]
            if gradient is not None:
                found[index] = gradient if direct is None else direct + gradient
        return found


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
