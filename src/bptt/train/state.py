"""All that training changes as it goes, taken out of its objects and put back into them."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

from bptt.tasks import Batch
from bptt.train import processes
from bptt.train.best import Best
from bptt.train.clipping import Clipping
from bptt.train.generators import generator_states, restore_generators
from bptt.train.module import TrainingModule
from bptt.train.network import move
from bptt.train.steps import Position


@dataclass
class EpochSums:
    """Sums over the steps of the running epoch, for its line on the screen."""

    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0
    clipped: int = 0

    def add(self, loss: float, clipping: Clipping) -> None:
        self.steps += 1
        self.loss += loss
        self.norm += clipping.norm
        self.clipped += clipping.was_clipped


@dataclass
class State:
    """Where training stands, apart from the network, the optimiser and its schedule."""

    clipping: Clipping
    position: Position = field(default_factory=Position)
    best: Best = field(default_factory=Best)
    sums: EpochSums = field(default_factory=EpochSums)

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> "State":
        return cls(
            clipping=Clipping(**checkpoint["clipping"]),
            position=Position(**checkpoint["position"]),
            best=Best(**checkpoint["best"]),
            sums=EpochSums(**checkpoint["sums"]),
        )

    def to_checkpoint(self) -> dict[str, Any]:
        return {name: vars(part).copy() for name, part in vars(self).items()}


def process_state(module: TrainingModule) -> dict[str, Any]:
    """What each process has of its own: its generators, and the carried state of its rows."""
    leaves = [] if module.carried is None else pytree.tree_leaves(module.carried)
    return {"generators": generator_states(), "carried": [leaf.cpu() for leaf in leaves]}


def restore_process(states: list[dict[str, Any]], module: TrainingModule, batch: Batch) -> None:
    """Put this process's part back.

    Args:
        states: one per process, as `process_state` gave them.
        module: what is trained.
        batch: any batch of this process, from which the structure of a state is learnt.
    """
    own = states[processes.rank()]
    if own["carried"]:
        with torch.no_grad():
            _, like = module.network(move(batch, module.device))
        leaves = [leaf.to(module.device) for leaf in own["carried"]]
        module.carried = pytree.tree_unflatten(leaves, pytree.tree_structure(like))
    restore_generators(own["generators"])
