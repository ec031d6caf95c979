"""What weights are called: as the cell calls them, and as briefly as tells them apart."""

from collections.abc import Sequence

from torch import Tensor

from bptt.compiler.compiled import Compiled
from bptt.compiler.once import refs
from bptt.compiler.record import Ref


def short(name: str) -> str:
    """A weight's own name, without those of the modules it is in.

    >>> short("recurrent.cells.0.Wx"), short("read_out.weight")
    ('Wx', 'read_out')
    """
    owner, _, own = name.rpartition(".")
    return owner.rpartition(".")[2] if own == "weight" and owner else own


def titles(names: Sequence[str]) -> dict[str, str]:
    """For each weight the end of its name that tells it apart from the others.

    >>> titles(["cells.0.Wx", "cells.1.Wx", "read_out.weight", "read_out.bias"])
    {'cells.0.Wx': '0.Wx', 'cells.1.Wx': '1.Wx', 'read_out.weight': 'read_out', \
'read_out.bias': 'bias'}
    """
    ends = {name: _ends(name) for name in names}
    return {
        name: next((end for end in own if sum(end in all for all in ends.values()) == 1), name)
        for name, own in ends.items()
    }


def _ends(name: str) -> list[str]:
    """What a weight may be called, from the briefest to its whole name."""
    pieces = name.split(".")
    return [short(name), *(".".join(pieces[-count:]) for count in range(2, len(pieces) + 1))]


class Names:
    """What the cell calls the weights that a fixed tensor is made of."""

    def __init__(
        self, names: dict[int, str], compiled: Compiled, tensors: Sequence[Tensor]
    ) -> None:
        self._of: dict[Ref, tuple[str, ...]] = {
            Ref(f"w{i}"): (names[id(tensor)],)
            if tensor.requires_grad and id(tensor) in names
            else ()
            for i, tensor in enumerate(tensors)
        }
        for operation in compiled.step.once:
            made_of = refs((operation.args, operation.kwargs))
            own = tuple(dict.fromkeys(n for ref in made_of for n in self.of(ref)))
            self._of |= {name: own for name in operation.results if name}
        self._order = {name: place for place, name in enumerate(names.values())}

    def of(self, ref: Ref) -> tuple[str, ...]:
        return self._of.get(ref, ())

    def order(self, name: str) -> int:
        return self._order[name]
