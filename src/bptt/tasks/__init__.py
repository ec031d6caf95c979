"""Data in: files become tasks, tasks give batches and verdicts."""

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
