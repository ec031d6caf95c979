"""The gradient's way through a run's best network, on the run's own test data."""

from pathlib import Path
from typing import TYPE_CHECKING

from bptt.figures import count
from bptt.report.way.examined import examine
from bptt.report.way.labels import Labels, numbered
from bptt.report.way.picture import with_picture
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
    labels = _labels(subject)
    return with_picture(way_of(found, _about(subject), labels), lambda: _unfolded(subject))


def _about(subject: "RunSubject") -> str:
    stretches = "one stretch" if len(subject) == 1 else f"{len(subject):,} stretches"
    return (
        f"The weights that were kept, on {stretches} of the test part, "
        f"{count(len(subject.inputs), 'step')} each at most. Eₜ is the loss of step t, in "
        f"{subject.unit}, summed over them. Steps are counted from 1."
    )


def _labels(subject: "RunSubject") -> Labels:
    """Of one stretch, what its user calls the steps; several have no names in common."""
    if len(subject) > 1:
        return numbered(len(subject.inputs), subject.names)
    names = enumerate(_apart(subject), start=1)
    return Labels(
        [f"step {k}, {name}" if name else f"step {k}" for k, name in names], subject.names
    )


def _apart(one: "RunSubject") -> list[str]:
    """What the steps of a stretch are called, where it says more than their number."""
    prefix = "character " if one.task == "text" else ""
    return [
        "" if name == f"step {k}" else f"{prefix}{name}"
        for k, name in enumerate(one.times[0], start=1)
    ]


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
        times=losses,
        names=_apart(one),
    )
    words = "the gradient of one loss, on the lines that it takes back through the steps."
    return Picture(f"{_stretch(one)}: {words}", drawn)


def _stretch(one: "RunSubject") -> str:
    """Which series, sequence or part of the text, and from when to when."""
    span = f"{one.times[0][0]} to {one.times[0][-1]}"
    if one.task == "text":
        return f"Characters {span} of the test part"
    kind = "Sequence " if one.task == "classify" else ""
    return f"{kind}{one.series[0]}, {span}" if one.series[0] else span
