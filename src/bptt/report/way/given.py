"""The gradient's way through a model on a batch that are given."""

from collections.abc import Sequence
from typing import Any

from bptt.report.way.examined import examine
from bptt.report.way.labels import numbered
from bptt.report.way.picture import with_picture
from bptt.report.way.section import Picture, Way, way_of


def way_of_batch(model: Any, inputs: Any, loss: Any, names: Sequence[str], **given: Any) -> Way:
    """What can be told of a model on a batch.

    Args:
        model, inputs, loss: as `bptt.inspect.diagnose` takes them.
        names: of the inputs' features.
        given: what else it takes.

    Raises:
        What `diagnose` raises: there is nothing else to show.
    """

    def unfolded() -> Picture:
        from bptt.picture import draw

        drawn = draw(model, inputs, loss, at=steps - 1, times=range(steps), **given)
        return Picture("One loss's gradient, on the lines that it takes back in time.", drawn)

    found = examine(model, inputs, loss, **given)
    steps = _steps(model, inputs, given.get("lengths"))
    seen = len(found.credit.steps) if found.credit else steps  # a long batch's last ones
    about = (
        f"{found.sample}. Eₜ is their loss at step t, summed over the sequences. Steps are counted "
        "from 1 here; the arrays of bptt.inspect count from 0."
    )
    labels = numbered(seen, names, start=steps - seen + 1)
    return with_picture(way_of(found, about, labels), unfolded)


def _steps(model: Any, inputs: Any, lengths: Any) -> int:
    """Steps of the longest sequence."""
    from torch.utils import _pytree as pytree

    if lengths is not None:
        return int(max(lengths))
    return pytree.tree_leaves(inputs)[0].shape[1 if getattr(model, "batch_first", False) else 0]
