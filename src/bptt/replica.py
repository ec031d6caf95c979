"""A cell held as it was when an unroll began, its weights standing in for the caller's."""

from typing import Any

from torch import Tensor, nn

from bptt import reach
from bptt.errors import BackendError, CellError
from bptt.step import Leaves


class Replica:
    """A copy of the cell in which every tensor is a leaf of its own.

    Attributes:
        cell: the copy.
        weights: leaves of the copy that need a gradient.
        constants: tensors of the copy that need none: buffers, masks, frozen weights.
    """

    def __init__(self, cell: Any) -> None:
        self._stand_ins: dict[int, tuple[Tensor, Tensor]] = {}
        self._copy = reach.CellCopy(cell, self._stand_in)
        self.cell = self._copy.cell
        pairs = list(self._stand_ins.values())
        self.weights = [leaf for _, leaf in pairs if leaf.requires_grad]
        self.sources = [source for source, leaf in pairs if leaf.requires_grad]
        self.constants = [leaf for _, leaf in pairs if not leaf.requires_grad]
        self.found = len(self.weights)  # those behind were adopted
        self._attributes = [dict(vars(module)) for module in self._copy.modules]
        self._versions = [leaf._version for _, leaf in pairs]

    def _stand_in(self, source: Tensor) -> Tensor:
        if id(source) not in self._stand_ins:
            leaf = source.detach().requires_grad_(source.requires_grad)
            self._stand_ins[id(source)] = (source, leaf)
        return self._stand_ins[id(source)][1]

    def stand_ins(self, sources: Leaves) -> Leaves:
        """The leaves that stand for the caller's tensors.

        Raises:
            BackendError: the copy holds a tensor that is not among `sources`.
        """
        known = {id(source) for source in sources}
        for source, _ in self._stand_ins.values():
            if id(source) not in known:
                raise BackendError(f"a tensor of shape {tuple(source.shape)} was not found")
        return [self._stand_in(source) for source in sources]

    @property
    def steady(self) -> bool:
        """Whether all that a step may look at in Python could be seen, and is as it was."""
        return not self._copy.opaque and not self._copy.changed()

    @property
    def touched(self) -> bool:
        """Whether a container, object or function that the step sees is not as it was."""
        return bool(self._copy.changed())

    def adopt(self, leaves: Leaves) -> None:
        """Take in leaves that a step reached though they were not found in the cell.

        Raises:
            CellError: one of them has hooks, which would run at every step and once more after.
        """
        known = {id(weight) for weight in self.weights}
        for leaf in leaves:
            if id(leaf) in known:
                continue
            if leaf._backward_hooks:
                raise CellError(
                    f"The step reaches a tensor of shape {tuple(leaf.shape)} with hooks, in a "
                    "place where bptt cannot put its own: make it an attribute of the module."
                )
            self.weights.append(leaf)
            self.sources.append(leaf)

    def with_tensors(self, tensors: Leaves) -> Any:
        """The cell once more, with these tensors for its weights."""
        given = {id(w): tensor for w, tensor in zip(self.weights, tensors, strict=True)}
        return reach.CellCopy(self.cell, lambda leaf: given.get(id(leaf), leaf)).cell

    def check_unchanged(self) -> None:
        """A step changes nothing but what it returns: it is run again in the backward pass.

        Raises:
            CellError: the first step changed an attribute of a module or a tensor in place.
        """
        for module, before in zip(self._copy.modules, self._attributes, strict=True):
            name = _changed_attribute(module, before)
            if name is not None:
                raise CellError(
                    f"{type(module).__name__}.forward changes the attribute {name!r} of its "
                    "module. A step is run again in the backward pass, so it may change nothing "
                    "but what it returns: carry the value in the state, or set it in "
                    "begin(batch_size)."
                )
        for holder, before in self._copy.changed():
            if _holds_graph(holder, before):
                raise CellError(
                    f"The step keeps a tensor with gradient in a {type(holder).__name__} outside "
                    "of it, where the next call would find it with this call's graph. Carry it in "
                    "the state, compute it anew in each step, or keep a detached copy."
                )
        for (_, leaf), version in zip(self._stand_ins.values(), self._versions, strict=True):
            if leaf._version != version:
                raise CellError(
                    f"The step changes a tensor of shape {tuple(leaf.shape)} in place (a buffer of "
                    "batch or spectral normalisation, perhaps). A step is run again in the "
                    "backward pass, so it may change nothing but what it returns: carry the "
                    "value in the state, or put the module into eval()."
                )


def _holds_graph(holder: Any, before: dict) -> bool:
    """Whether something with a graph has come into a container, object or closure."""
    known = {id(value) for value in before.values()}
    new = [v for v in reach.content(holder).values() if id(v) not in known]
    return any(isinstance(value, Tensor) and value.requires_grad for value in new)


def _changed_attribute(module: nn.Module, before: dict[str, Any]) -> str | None:
    """An attribute that a step has set. What is a weight computed anew at each call may be."""
    for name, value in vars(module).items():
        if name in before and value is before[name]:
            continue
        remade = isinstance(value, Tensor) and module._forward_pre_hooks
        if not remade and not (isinstance(module, nn.RNNBase) and name.startswith("_flat_weight")):
            return name
    return None
