"""One training step, as Lightning runs it on one process or on many."""

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.tasks import Batch, Task
from bptt.train import processes
from bptt.train.breakdown import check_gradient, check_loss
from bptt.train.clipping import Clipping
from bptt.train.config import Recipe
from bptt.train.method import make_method
from bptt.train.network import Network, move


class TrainingModule(lightning.LightningModule):
    """The network with its task's loss, made so that processes together take one process's step.

    Args:
        network: what is trained.
        task: whose loss.
        clipping: measures and clips each gradient.
        options: Adam's step size at the start, and how the gradient goes back through time.
        cell: the name of the network's cells, for messages.

    Attributes:
        loss: mean loss of the last batch over all processes.
        carried: the state at the end of the last batch, without its history; None at the start of
            an epoch and where the task's batches do not follow on from each other.
    """

    def __init__(
        self, network: Network, task: Task, clipping: Clipping, options: Recipe, cell: str
    ) -> None:
        super().__init__()
        self.network, self.task, self.clipping = network, task, clipping
        self.learning_rate, self.cell = options.learning_rate, cell
        self.method = make_method(options.method)
        self.loss = float("nan")
        self.carried: Any = None

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Loss of this process's rows, weighed so that the processes' mean gradient is exact.

        With n processes, sums l_i over c_i terms and c = sum c_i, the batch's loss is sum l_i / c.
        Lightning's processes average their gradients, so each returns n l_i / c.

        Raises:
            Breakdown: the batch's loss is no number.
        """
        total, count = self._loss(batch)
        all_total, all_count = processes.total([total.item(), count], self.device)
        self.loss = all_total / max(1, all_count)
        check_loss(self.loss, self.network, self.cell, self.clipping.steps + 1)
        return total * (processes.world() / max(1, all_count))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)

    def configure_gradient_clipping(self, *_: object, **__: object) -> None:
        """By the norm over all parameters; processes have exchanged gradients by now.

        Raises:
            Breakdown: the norm is no number; no weight has been changed by it.
        """
        self.clipping.apply(self.network.parameters())
        check_gradient(self.clipping.norm, self.network, self.cell, self.clipping.steps)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return move(batch, device)

    def _loss(self, batch: Batch) -> tuple[Tensor, int]:
        if batch.numeric.shape[1] == 0:
            return self._nothing(), 0
        outputs, state = self.network(batch, self.carried, self.method)
        if self.task.carries_state:
            self.carried = pytree.tree_map(torch.detach, state)
        return self.task.loss(outputs, batch)

    def _nothing(self) -> Tensor:
        """The loss of no rows: a zero that depends on every parameter.

        Processes wait for each other's gradient of each parameter, so this one must have them all.
        """
        return torch.stack([(0 * p).sum() for p in self.network.parameters()]).sum()
