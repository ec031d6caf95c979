"""A model on a batch, examined for a page."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from bptt.inspect import Credit, Diagnosis


def examine(model: Any, inputs: Any, loss: Any, *, method: Any = None, **given: Any) -> "Diagnosis":
    """The diagnosis, its credit with every weight's terms and all loss times.

    Args:
        model, inputs, loss, given: as `bptt.inspect.diagnose` takes them.
        method: what the model is trained with, or None.
    """
    from bptt.inspect import diagnose

    found = diagnose(model, inputs, loss, method=method, **given)
    if found.credit is None:
        return found
    return replace(found, credit=_whole_credit(model, inputs, loss, **given))


def _whole_credit(model: Any, inputs: Any, loss: Any, *, targets: Any, **given: Any) -> "Credit":
    """Of the same part of the batch."""
    from bptt.inspect import credit
    from bptt.inspect.diagnosis import SEQUENCES, STEPS
    from bptt.inspect.losses import StepLoss
    from bptt.inspect.models import subject
    from bptt.inspect.sample import sample

    whole = subject(model, inputs, **given)
    if whole.batch_first:
        targets = pytree.tree_map_only(Tensor, lambda leaf: leaf.transpose(0, 1), targets)
    part = sample(whole, targets, SEQUENCES, STEPS)
    rows = StepLoss(part.given, loss, part.targets).rows
    return credit(part.given.cell, loss=rows, **part.given.arguments())
