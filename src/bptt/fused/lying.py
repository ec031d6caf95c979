"""Where fixed tensors lie in the memory of the cell's own ones: those that are views of them."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from bptt.compiler.once import refs
from bptt.compiler.record import Operation, Ref


class View(NamedTuple):
    """A fixed tensor in one of the cell's.

    Attributes:
        own: the number of the cell's tensor.
        meta: the view, without numbers: where it lies if the cell's tensor is contiguous.
    """

    own: int
    meta: Tensor


def views(own: Sequence[Tensor], operations: Sequence[Operation]) -> dict[Ref, View]:
    """Those of the results of operations, and of the cell's tensors, that are such views.

    Args:
        own: the cell's tensors, without numbers.
        operations: on those.
    """
    found = {Ref(f"w{i}"): View(i, tensor) for i, tensor in enumerate(own)}
    for operation in operations:
        given = refs((operation.args, operation.kwargs))
        if len(given) == 1 and given[0] in found and operation.func.is_view:
            base = found[given[0]]
            made = operation.func(base.meta, *operation.args[1:], **dict(operation.kwargs))
            many = made if isinstance(made, (tuple, list)) else (made,)
            for name, meta in zip(operation.results, many, strict=True):
                if name is not None:
                    found[name] = View(base.own, meta)
    return found
