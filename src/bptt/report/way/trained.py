"""The gradient's way through a run's best network, on the run's own test data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bptt.report.figures import count
from bptt.report.way.examined import examine
from bptt.report.way.labels import Labels, numbered
from bptt.report.way.picture import MOST_TIMES, picture, with_picture
from bptt.report.way.section import Picture, Way, said, way_of

if TYPE_CHECKING:
    from bptt.train.subject import RunSubject

STRETCHES = 8  # as many as a diagnosis looks at


def way_of_run(folder: Path) -> Way:
    """What can be told of a run by its folder.

    Whatever fails here is told on the page: the rest of a report stands by itself, and training,
    which ends by writing it, is not to fail for it.
    """
    try:
        return _inspected(folder)
    except Exception as error:
        return Way("", missing=[("the gradient's way", said(error))])


def _inspected(folder: Path) -> Way:
    from bptt.train.method import make_method
    from bptt.train.run import Run
    from bptt.train.subject import open_subject

    subject = open_subject(folder, rows=STRETCHES)
    found = examine(
        subject.model,
        subject.inputs,
        subject.loss,
        targets=subject.targets,
        state=subject.state,
        lengths=subject.lengths,
        method=make_method(Run.open(folder).read_config().training.method),
    )
    labels = _labels(subject.times, len(subject.inputs), subject.names)
    return with_picture(way_of(found, _about(subject), labels), lambda: _unfolded(subject))


def _about(subject: "RunSubject") -> str:
    stretches = "one stretch" if len(subject) == 1 else f"{len(subject):,} stretches"
    return (
        f"The weights that were kept, on {stretches} of the test part, "
        f"{count(len(subject.inputs), 'step')} each at most. Eₜ is the loss of step t, in "
        f"{subject.unit}, summed over them."
    )


def _labels(times: Sequence[Sequence[str]], steps: int, inputs: Sequence[str]) -> Labels:
    """Of one stretch, what its user calls the steps; several have no names in common."""
    if len(times) == 1:
        return Labels([f"step {k}, {name}" for k, name in enumerate(times[0])], inputs)
    return numbered(steps, inputs)


def _unfolded(subject: "RunSubject") -> Picture:
    """One stretch, for only then each step has a name of its own."""
    from bptt.picture import draw
    from bptt.train.subject import only

    one = only(subject, 0)
    losses = one.counted[:, 0].nonzero()[:, 0].tolist()
    drawn = draw(
        one.model,
        one.inputs,
        one.loss,
        targets=one.targets,
        state=one.state,
        at=losses[-1],
        times=losses[-MOST_TIMES:],
        names=one.times[0],
        first=0,
    )
    series = f"{one.series[0]}, " if one.series[0] else ""
    return picture(
        drawn,
        f"{series}{one.times[0][0]} to {one.times[0][-1]}: the gradient of one loss, on the lines "
        "that it takes back through the steps.",
    )
