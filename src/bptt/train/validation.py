"""A network measured on a part of the data."""

from typing import Any

import torch
from torch import nn

from bptt.tasks import Evaluation, Part, Task
from bptt.train.network import forward_of


def evaluate(network: nn.Module, task: Task, part: Part, batch_size: int) -> Evaluation:
    """The task's figures for the network as it is, without dropout."""
    training = network.training
    network.eval()
    try:
        return task.evaluate(forward_of(network, _device(network)), part, batch_size)
    finally:
        network.train(training)


def mean_loss(network: nn.Module, task: Task, part: Part, batch_size: int) -> float:
    """The task's mean loss over a part, without dropout."""
    training = network.training
    network.eval()
    try:
        return _mean_loss(network, task, part, batch_size)
    finally:
        network.train(training)


def _mean_loss(network: nn.Module, task: Task, part: Part, batch_size: int) -> float:
    forward, batches = forward_of(network, _device(network)), task.batches(part, batch_size)
    state: Any = None
    total, count = 0.0, 0
    for step in range(len(batches)):
        batch = batches.batch(0, 0, step)
        outputs, state = forward(batch, state if task.carries_state else None)
        loss, terms = task.loss(outputs, batch)
        total, count = total + loss.item(), count + terms
    return total / max(1, count)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
