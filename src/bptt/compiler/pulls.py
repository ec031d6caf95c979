"""From gradients of what weights are made into to those of the weights: autograd's way, kept.

Starting autograd on a few views and products takes longer than those. So what it did once is
written down as Python, where the operations are such that it would do the same with any numbers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.compiler.program import Program, Task, build
from bptt.compiler.record import Operation, Recording, Ref

aten = torch.ops.aten
# Operations whose derivatives are the same operations whatever the numbers are.
STEADY = frozenset(
    ("abs", "add", "addmm", "alias", "asin", "atan", "bmm", "cat", "clamp", "clamp_max",
     "clamp_min", "clone", "contiguous", "cos", "cosh", "detach", "diagonal", "div", "elu", "exp",
     "expand", "expm1", "gelu", "hardtanh", "lift_fresh", "log", "log1p", "log_softmax",
     "_log_softmax", "masked_fill", "maximum", "mean", "minimum", "mm", "mul", "mv", "neg", "norm",
     "ones", "ones_like", "permute", "pow", "reciprocal", "relu", "repeat", "reshape", "rsqrt",
     "rsub", "scalar_tensor", "select", "sigmoid", "sign", "silu", "sin", "sinh", "slice",
     "_softmax", "softplus", "split", "split_with_sizes", "sqrt", "square", "squeeze", "stack",
     "sub", "sum", "t", "tan", "tanh", "transpose", "tril", "triu", "unbind", "unsafe_split",
     "_unsafe_view", "unsqueeze", "view", "where", "zeros", "zeros_like")
)  # fmt: skip
# A view fits the strides that it was recorded with alone.
_VIEWS = (aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default)


class Pulled(NamedTuple):
    """What autograd gave, and how it is had again.

    Attributes:
        found: the gradients of the leaves, None where nothing reached them.
        again: `again(*leaves, *seeds) -> (*gradients)`; None where it is not known.
    """

    found: Sequence[Tensor | None]
    again: Callable[..., tuple] | None


def are_steady(operations: Iterable[Operation]) -> bool:
    """Whether the way back through operations is the same for all numbers."""
    return all(op.func._schema.name.removeprefix("aten::") in STEADY for op in operations)


def gradients(
    roots: Sequence[Tensor], leaves: Sequence[Tensor], seeds: Sequence[Tensor]
) -> list[Tensor | None]:
    """`torch.autograd.grad`, without its import of symbolic shapes: half a second at first use."""
    targets = tuple(leaf for leaf in leaves if leaf.requires_grad)
    if not roots or not targets:
        return [None] * len(leaves)
    run = torch.autograd.Variable._execution_engine.run_backward
    found = run(tuple(roots), tuple(seeds), False, False, targets, True, accumulate_grad=False)
    left = iter(found)
    return [next(left) if leaf.requires_grad else None for leaf in leaves]


def pull(
    differentiate: Callable[[], Sequence[Tensor | None]],
    constants: Sequence[Tensor],
    leaves: Sequence[Tensor],
    seeds: Sequence[Tensor],
) -> Pulled:
    """Gradients by autograd, which is watched.

    Args:
        differentiate: goes from the leaves to what has the seeds for gradients, and back: a
            gradient, or None, for each leaf.
        constants: what else it meets.
        leaves: what it begins with.
        seeds: gradients.
    """
    given = {"w": list(leaves), "g": list(seeds)}
    recording = Recording(c=list(constants), **given)
    with recording:
        found = differentiate()
    names = [None if gradient is None else recording.name(gradient) for gradient in found]
    lost = any(name is None and own is not None for name, own in zip(names, found, strict=True))
    if recording.reason is not None or lost:
        return Pulled(found, None)
    operations = tuple(_for_any_strides(operation) for operation in recording.operations)
    arguments = tuple(Ref(f"{kind}{i}") for kind in given for i in range(len(given[kind])))
    known = tuple(Ref(f"c{i}") for i in range(len(constants)))
    program = build(Task(operations, arguments, known, (), tuple(names), 0))
    return Pulled(found, None if program is None else _bound(program, constants))


def _bound(program: Program, constants: Sequence[Tensor]) -> Callable[..., tuple]:
    values = program.once(*constants)
    return lambda *given: program.step(*given, *values)


def _for_any_strides(operation: Operation) -> Operation:
    return operation._replace(func=aten.reshape.default) if operation.func in _VIEWS else operation
