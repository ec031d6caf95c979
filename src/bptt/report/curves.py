"""How training went, over its steps: the losses, the deciding metric, the gradient's norm."""

from collections.abc import Callable, Sequence
from statistics import fmean, median

from bptt.figures import count, figure, metric
from bptt.folder.read import EpochRow, Run, StepRow
from bptt.report.plot import Axis, Line, Plot, Row, buckets
from bptt.report.verdict import best_rule, known

STEPS = Axis("training step", format=",d")


def best_epoch(run: Run) -> EpochRow | None:
    """The epoch with the lowest validation loss."""
    return min((r for r in run.epochs if known(r.loss)), key=lambda r: r.loss, default=None)


def loss_curves(run: Run) -> Plot:
    """Training and validation loss, and the epoch with the lowest validation loss."""
    best = best_epoch(run)
    steps = _thinned(run.steps, lambda row: row.loss, fmean)
    return Plot(
        title="Loss",
        unit="loss",
        file="loss.csv",
        words=_loss_words(run, best),
        axis=STEPS,
        lines=[Line("network", "training"), Line("validation", "validation", points=_few(run))],
        rows=_merged(steps, _looks(run, "validation", lambda row: row.loss)),
        moment=(best.step, f"lowest: epoch {best.epoch:,}") if best else None,
        log=True,
    )


def headline_curve(run: Run) -> Plot:
    """The deciding metric on the validation part, beside the best naive rule's."""
    rule = best_rule(run.evaluation["validation"]) if run.evaluation else None
    name = metric(run.headline)
    return Plot(
        title=f"{name[0].upper()}{name[1:]}",
        unit="on the validation part",
        file=f"{run.headline}.csv",
        words=_headline_words(run, name, rule),
        axis=STEPS,
        lines=[Line("validation", "the network", points=_few(run))],
        rows=_looks(run, "validation", lambda row: row.headline),
        level=(rule[1], rule[0]) if rule else None,
    )


def gradient_curve(run: Run, threshold: float) -> Plot:
    """The norm of the gradient before clipping, and where it was clipped."""
    norms = [row.gradient_norm for row in run.steps if known(row.gradient_norm)]
    return Plot(
        title="Gradient norm",
        unit="norm before clipping" if threshold else "norm",
        file="gradient-norm.csv",
        words=f"{_clipping_words(run, threshold)} The median norm was {figure(median(norms))}, "
        f"the largest {figure(max(norms))}.",
        axis=STEPS,
        lines=[Line("network", "gradient norm")],
        rows=_thinned(run.steps, lambda row: row.gradient_norm, median),
        level=(threshold, f"clipped above {figure(threshold)}") if threshold else None,
        log=True,
    )


def _headline_words(run: Run, name: str, rule: tuple[str, float] | None) -> str:
    kept = best_epoch(run)
    look = kept or run.epochs[-1]
    whose = ", whose weights were kept," if kept else ""
    against = f"; the best naive rule, {rule[0]}, has {figure(rule[1])} there" if rule else ""
    return (
        f"After epoch {look.epoch:,}{whose} the {name} on the validation part was "
        f"{figure(look.headline)}{against}."
    )


def _clipping_words(run: Run, threshold: float) -> str:
    if not threshold:
        return "Gradients were not clipped."
    clipped = sum(row.clipped for row in run.steps)
    if not clipped:
        return f"The gradient was never longer than {figure(threshold)}, so it was never clipped."
    return (
        f"The gradient was longer than {figure(threshold)}, and so was clipped, in {clipped:,} of "
        f"{count(len(run.steps), 'step')} ({100 * clipped / len(run.steps):.1f} %)."
    )


def _loss_words(run: Run, best: EpochRow | None) -> str:
    losses = [row.loss for row in run.steps if known(row.loss)]
    if not losses:
        return "No training loss was a number."
    if len(losses) == 1:
        return f"The training loss was {figure(losses[0])} once, and no number after that."
    words = f"The training loss went from {figure(losses[0])} to {figure(losses[-1])}"
    if best is None:
        return f"{words}; the validation part has not been looked at yet."
    return (
        f"{words}; the validation loss was lowest, {figure(best.loss)}, after epoch {best.epoch:,} "
        f"of the {run.epochs[-1].epoch:,} that were run."
    )


def _thinned(
    steps: Sequence[StepRow],
    value: Callable[[StepRow], float],
    middle: Callable[[Sequence[float]], float],
) -> list[Row]:
    """A row a bucket of steps: the middle of its values as the line, the extremes as a band."""
    rows = []
    for bucket in buckets(steps):
        numbers = [n for n in map(value, bucket) if known(n)]
        row: Row = {"x": bucket[-1].step, "at": _at(bucket), "network": None}
        if numbers:
            row["network"] = middle(numbers)
        if numbers and len(steps) > len(bucket) > 1:
            row |= {"low": min(numbers), "high": max(numbers)}
        rows.append(row)
    return rows


def _at(bucket: Sequence[StepRow]) -> str:
    first, last = bucket[0], bucket[-1]
    if first is last:
        return f"step {last.step:,}, epoch {last.epoch:,}"
    return f"steps {first.step:,} to {last.step:,}, epoch {last.epoch:,}"


def _looks(run: Run, field: str, value: Callable[[EpochRow], float]) -> list[Row]:
    looks = [row for row in run.epochs if known(value(row))]
    return [
        {
            "x": bucket[-1].step,
            "at": f"step {bucket[-1].step:,}, after epoch {bucket[-1].epoch:,}",
            field: fmean(map(value, bucket)),
        }
        for bucket in buckets(looks)
    ]


def _merged(first: list[Row], second: list[Row]) -> list[Row]:
    """Both lists' rows in the order of x, one row an x."""
    rows = {row["x"]: row for row in first}
    for row in second:
        rows[row["x"]] = rows.get(row["x"], {}) | row
    return [rows[x] for x in sorted(rows)]


def _few(run: Run) -> bool:
    return len(run.epochs) <= 40
