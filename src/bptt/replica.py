"""A cell held as it was when an unroll began, its weights standing in for the caller's."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from bptt import reach
from bptt.compiler.fingerprint import Fingerprint, fingerprint
from bptt.errors import BackendError, CellError
from bptt.step import Leaves, version


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
        self._attributes = Attributes(self._copy.modules)
        self._versions = [version(leaf) for _, leaf in pairs]

    def _stand_in(self, source: Tensor) -> Tensor:
        if id(source) not in self._stand_ins:
            leaf = source.detach().clone() if source.is_inference() else source.detach()
            leaf.requires_grad_(source.requires_grad)
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

    def follows(self, tensors: Leaves) -> bool:
        """Whether it has just these tensors of the caller's, in this order."""
        return list(self._stand_ins) == [id(tensor) for tensor in tensors]

    @property
    def opaque(self) -> bool:
        """Whether something in the cell could not be looked into."""
        return self._copy.opaque

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
        adopt(self, leaves)

    def with_tensors(self, tensors: Leaves) -> Any:
        """The cell once more, with these tensors for its weights."""
        return _with(self.cell, self.weights, tensors)

    def check_unchanged(self) -> None:
        """A step changes nothing but what it returns: it is run again in the backward pass.

        Raises:
            CellError: the first step changed an attribute of a module or a tensor in place.
        """
        self._attributes.check()
        for holder, before in self._copy.changed():
            if _holds_graph(holder, before):
                raise CellError(
                    f"The step keeps a tensor with gradient in a {type(holder).__name__} outside "
                    "of it, where the next call would find it with this call's graph. Carry it in "
                    "the state, compute it anew in each step, or keep a detached copy."
                )
        check_in_place((leaf for _, leaf in self._stand_ins.values()), self._versions)


class Original:
    """The cell itself in the place of a copy, where its steps are not run again.

    Its tensors are leaves without hooks, so a gradient can be taken to them at each step.

    Args:
        cell: the cell.
        made: its fingerprint, which names all of its tensors.
    """

    def __init__(self, cell: Any, made: Fingerprint) -> None:
        self.cell, self._key = cell, made.key
        self.weights = [tensor for tensor in made.tensors if tensor.requires_grad]
        self.constants = [tensor for tensor in made.tensors if not tensor.requires_grad]
        self.sources, self.found = list(self.weights), len(self.weights)

    @staticmethod
    def serves(made: Fingerprint) -> bool:
        """Whether a cell of this fingerprint needs no copy."""
        return all(tensor.is_leaf and not tensor._backward_hooks for tensor in made.tensors)

    def adopt(self, leaves: Leaves) -> None:
        """Take in leaves that a step reached though they were not found in the cell."""
        adopt(self, leaves)

    def with_tensors(self, tensors: Leaves) -> Any:
        """The cell once more, with these tensors for its weights.

        Raises:
            CellError: the cell is not what it was.
        """
        self._check()
        return _with(self.cell, self.weights, tensors)

    def again(self, x: Any, state: Any) -> Any:
        """A step run again.

        Raises:
            CellError: the cell is not what it was.
        """
        self._check()
        return self.cell(x, state)

    def _check(self) -> None:
        if fingerprint(self.cell).key != self._key:
            raise CellError(
                "The cell has changed since bptt.unroll ran it, so this gradient would be of "
                "another function. Differentiate before changing the cell."
            )


def adopt(replica: "Replica | Original", leaves: Leaves) -> None:
    """Take in leaves that a step reached though they were not found in the cell.

    Raises:
        CellError: one of them has hooks, which would run at every step and once more after.
    """
    known = {id(weight) for weight in replica.weights}
    for leaf in leaves:
        if id(leaf) in known:
            continue
        if leaf._backward_hooks:
            raise CellError(
                f"The step reaches a tensor of shape {tuple(leaf.shape)} with hooks, in a "
                "place where bptt cannot put its own: make it an attribute of the module."
            )
        known.add(id(leaf))
        replica.weights.append(leaf)
        replica.sources.append(leaf)


@contextlib.contextmanager
def unhooked(replica: "Replica | Original") -> Iterator[None]:
    """No hooks on the caller's own weights: they are for the whole gradient, not for a step's."""
    held = [(weight, weight._backward_hooks) for weight in replica.weights]
    held = [(weight, hooks) for weight, hooks in held if hooks]
    for weight, _ in held:
        weight._backward_hooks = None
    try:
        yield
    finally:
        for weight, hooks in held:
            weight._backward_hooks = hooks


def _with(cell: Any, weights: Leaves, tensors: Leaves) -> Any:
    given = {id(weight): tensor for weight, tensor in zip(weights, tensors, strict=True)}
    return reach.CellCopy(cell, lambda leaf: given.get(id(leaf), leaf)).cell


class Attributes:
    """What modules hold, to tell whether a step changes it."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = [(module, dict(vars(module))) for module in modules]

    def check(self) -> None:
        """Nothing was set.

        Raises:
            CellError: an attribute is not what it was.
        """
        for module, before in self._modules:
            name = _changed_attribute(module, before)
            if name is not None:
                raise CellError(
                    f"{type(module).__name__}.forward changes the attribute {name!r} of its "
                    "module. A step is run again in the backward pass, so it may change nothing "
                    "but what it returns: carry the value in the state, or set it in "
                    "begin(batch_size)."
                )


def check_in_place(tensors: Iterable[Tensor], versions: Iterable[int]) -> None:
    """A step writes into none of the cell's tensors.

    Raises:
        CellError: one of them has another version.
    """
    for tensor, before in zip(tensors, versions, strict=True):
        if version(tensor) != before:
            raise CellError(
                f"The step changes a tensor of shape {tuple(tensor.shape)} in place (a buffer of "
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
