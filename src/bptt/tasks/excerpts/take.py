"""An excerpt of any task's test data."""

from bptt.errors import ArgumentError
from bptt.tasks.classify import Classify
from bptt.tasks.excerpts import labelled, table, text
from bptt.tasks.excerpts.excerpt import Excerpt, Wanted
from bptt.tasks.forecast import Forecast
from bptt.tasks.task import Task
from bptt.tasks.text import Text


def take_excerpt(task: Task, wanted: Wanted) -> Excerpt:
    """Stretches of a task's test data.

    Raises:
        ArgumentError: there is no such series or step, or a number below 1.

    >>> from bptt.tasks import open_task
    >>> excerpt = take_excerpt(open_task("sunspots"), Wanted(at="2000", steps=20))
    >>> excerpt.series, excerpt.label(int(excerpt.start[0])), excerpt.targets.shape
    (('sunspots',), '1981', torch.Size([20, 1, 11, 1]))
    """
    if wanted.rows < 1 or wanted.steps < 1:
        raise ArgumentError(
            f"rows and steps should be 1 or more, got {wanted.rows} and {wanted.steps}"
        )
    if isinstance(task, Forecast):
        return table.take(task, wanted)
    if isinstance(task, Classify):
        return labelled.take(task, wanted)
    if isinstance(task, Text):
        return text.take(task, wanted)
    raise ArgumentError(f"expected a forecast, classify or text task, got {type(task).__name__}")
