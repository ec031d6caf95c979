"""What a watch sees of a model's cells in one training step."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError, CellError, RunWarning
from bptt.inspect.glimpse import Glimpse, glimpse
from bptt.inspect.nonlinearity import Site, sites
from bptt.inspect.saturation import saturated
from bptt.inspect.sinks import Figures
from bptt.inspect.subject import Subject
from bptt.inspect.trajectory import Trajectory
from bptt.listeners import LISTENERS


class Look:
    """Hears what a model gives to `bptt.unroll` in a forward pass, and makes figures of it."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._heard: list[tuple] = []
        self._sites: dict[str, list[Site]] = {}  # found once, for that takes as long as the rest
        self._told: set[str] = set()
        self.listens = False

    def listen(self) -> None:
        """From now on."""
        self._heard = []
        if not self.listens:
            LISTENERS.append(self.hear)
        self.listens = True

    def hear(self, *given: Any) -> None:
        """The arguments of one unroll."""
        if torch.is_grad_enabled():
            self._heard.append(given)

    def stop(self) -> None:
        """Listen no longer, and forget what was heard."""
        if self.listens:
            LISTENERS.remove(self.hear)
        self.listens, self._heard = False, []

    def figures(self) -> Figures:
        """What is known of the cells heard since `listen`; of one that is unrolled twice, twice."""
        heard = self._heard
        self.stop()
        names = _distinct([cell_name(given[0], self._model) for given in heard])
        found: Figures = {}
        for name, given in zip(names, heard, strict=True):
            try:
                seen = glimpse(_subject(given))
            except (CellError, ArgumentError) as error:
                self._tell(f"{name} is not watched. {error}")
                continue
            if seen is not None:
                found |= _of(seen, name) | self._saturation(name, seen.path)
        return found

    def _saturation(self, name: str, path: Trajectory) -> Figures:
        if name not in self._sites:
            try:
                self._sites[name] = sites(path)
            except CellError as error:
                self._sites[name] = []
                self._tell(f"The saturation of {name} is not watched. {error}")
        known = self._sites[name]
        found = saturated(path, known=known) if known else None
        pairs = [] if found is None else zip(found.names, found.share, strict=True)
        return {f"saturation/{name}: {of}": float(share) for of, share in pairs}

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(what, RunWarning, stacklevel=2)


def gradient_norms(model: nn.Module) -> Figures:
    """The length of each parameter's gradient, and of all together."""
    pairs = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    gradients = [gradient.to_dense().detach() for _, gradient in pairs]
    if not gradients:
        return {}
    norms = torch.stack([norm.float().cpu() for norm in torch._foreach_norm(gradients)])
    found = {
        f"gradient norm/{name}": norm for (name, _), norm in zip(pairs, norms.tolist(), strict=True)
    }
    return found | {"gradient norm/all": float(norms.norm())}


def is_cell(model: nn.Module) -> bool:
    """Whether a module is a step, unrolled by others, and not called by itself."""
    return hasattr(model, "initial_state") or isinstance(model, nn.RNNCellBase)


def cell_name(cell: Any, model: nn.Module) -> str:
    """What a model calls a cell, or the weights that it runs on."""
    for name, module in model.named_modules():
        if module is cell:
            return name or type(cell).__name__
    if isinstance(cell, nn.Module):
        own = {id(value) for value in vars(cell).values() if isinstance(value, Tensor)}
        own |= {id(parameter) for parameter in cell.parameters()}
        for name, parameter in model.named_parameters():
            if id(parameter) in own:
                return ".".join([*name.split(".")[:-1], name.rpartition("_")[2]])
    return getattr(cell, "__name__", type(cell).__name__)


def _distinct(names: list[str]) -> list[str]:
    """The same, with a number behind those that come again."""
    return [
        f"{name} ({names[: i + 1].count(name)})" if name in names[:i] else name
        for i, name in enumerate(names)
    ]


def _subject(given: tuple) -> Subject:
    """An unroll's arguments, in the dtype that autocast would give them."""
    cell, inputs, state, lengths, reset, reset_state, reverse, _, _ = given
    weights = cell.parameters() if isinstance(cell, nn.Module) else []
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), None)
    parts = [_cast(part, dtype) for part in (inputs, state, reset_state)]
    lengths = None if lengths is None else torch.as_tensor(lengths)
    return Subject(cell, cell, parts[0], parts[1], lengths, reset, parts[2], reverse)


def _cast(part: Any, dtype: torch.dtype | None) -> Any:
    def cast(leaf: Tensor) -> Tensor:
        return leaf.to(dtype) if leaf.is_floating_point() else leaf

    return part if dtype is None else pytree.tree_map_only(Tensor, cast, part)


def _of(seen: Glimpse, name: str) -> Figures:
    return {
        f"decay rate/{name}": seen.rate,
        f"half-life/{name}": seen.half_life,
        f"jacobian norm/{name}": seen.norm,
        f"spectral radius/{name}": seen.radius,
    }
