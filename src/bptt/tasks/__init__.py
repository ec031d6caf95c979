"""Data in: files become tasks, tasks give batches and verdicts."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.tasks.batches import take_rows
    from bptt.tasks.opening import data_name, fingerprint, open_task, restore_task
    from bptt.tasks.options import DataOptions
    from bptt.tasks.shipped import Dataset, datasets
    from bptt.tasks.task import Batch, Batches, Evaluation, Forward, NetworkShape, Part, Task

__all__ = [
    "Batch",
    "Batches",
    "DataOptions",
    "Dataset",
    "Evaluation",
    "Forward",
    "NetworkShape",
    "Part",
    "Task",
    "data_name",
    "datasets",
    "fingerprint",
    "open_task",
    "restore_task",
    "take_rows",
]

make_lazy(
    __name__,
    {
        "batches": ["take_rows"],
        "opening": ["data_name", "fingerprint", "open_task", "restore_task"],
        "options": ["DataOptions"],
        "shipped": ["Dataset", "datasets"],
        "task": ["Batch", "Batches", "Evaluation", "Forward", "NetworkShape", "Part", "Task"],
    },
)
