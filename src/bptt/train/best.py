"""The best epoch so far, and whether to go on waiting for a better one."""

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class Best:
    """Keeps the weights with the lowest validation loss, and counts epochs without a lower one.

    Attributes:
        loss: the lowest validation loss so far.
        epoch: when that was, from 0; -1: there was none yet.
        stale: epochs since.
        weights: the network's state_dict then, on the CPU.
    """

    loss: float = float("inf")
    epoch: int = -1
    stale: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def note(self, loss: float, epoch: int, network: nn.Module) -> bool:
        """Take in an epoch's validation loss; True if it is the lowest so far."""
        if not loss < self.loss:
            self.stale += 1
            return False
        self.loss, self.epoch, self.stale = loss, epoch, 0
        self.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        return True
