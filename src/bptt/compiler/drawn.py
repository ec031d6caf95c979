"""What a step makes of its random numbers alone: dropout's mask, say, of uniform numbers.

It is the same whatever the step was given, so it is made for many steps at once.
"""

from collections.abc import Iterable, Sequence

import torch

from bptt.compiler.record import Operation, Ref

aten = torch.ops.aten
# On each number by itself and exactly rounded: the same in any company.
_ALONE = frozenset(
    (
        aten.add.Tensor,
        aten.div.Tensor,
        aten.ge.Scalar,
        aten.gt.Scalar,
        aten.le.Scalar,
        aten.lt.Scalar,
        aten.mul.Tensor,
        aten.neg.default,
        aten.rsub.Scalar,
        aten.sub.Tensor,
        aten._to_copy.default,
    )
)


def parted(
    operations: Iterable[Operation], draws: Sequence[Ref]
) -> tuple[list[Operation], list[Operation]]:
    """What depends on one draw and on nothing else, and the rest."""
    of: dict[Ref | None, Ref] = {name: name for name in draws}
    made, rest = [], []
    for operation in operations:
        sources = {of.get(name) for name in operation.operands}
        source = sources.pop() if len(sources) == 1 else None
        if operation.func in _ALONE and source is not None:
            made.append(operation)
            of.update(dict.fromkeys(operation.results, source))
        else:
            rest.append(operation)
    return made, rest
