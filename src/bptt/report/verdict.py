"""The answer first: did the network learn, how well, and against which naive rule."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from bptt.report.figures import count, figure, metric
from bptt.report.read import Run

HARDLY = 0.02  # a gain below 2 % of the naive rule's figure is not called learning


@dataclass(frozen=True)
class Verdict:
    """The answer, in a few words and in a sentence with its figures.

    Attributes:
        mark: good, fair or bad; open while there is nothing to judge by.
        answer: a few words.
        sentence: the same with its figures.
        notes: facts that a reader must not miss, such as a loss that became NaN.
    """

    mark: Literal["good", "fair", "bad", "open"]
    answer: str
    sentence: str
    notes: list[str]


@dataclass(frozen=True)
class Predictor:
    """One line of the comparison: the network, or a naive rule."""

    name: str
    is_network: bool
    cells: list[tuple[float | None, bool]]  # a figure, and whether it is its column's best


def judge(run: Run) -> Verdict:
    """What a run's files say of the network."""
    notes = [note for note in map(_broken, *_series(run)) if note]
    if run.evaluation is None:
        return Verdict("open", "No verdict yet", _progress(run), notes)
    return _compare(run.evaluation["test"], notes)


def best_rule(evaluation: dict[str, Any]) -> tuple[str, float] | None:
    """The naive rule with the best headline figure, and that figure."""
    headline = evaluation["headline"]
    rules = {n: f[headline] for n, f in evaluation["baselines"].items() if known(f.get(headline))}
    if not rules:
        return None
    choose = min if evaluation["lower_is_better"] else max
    name = choose(rules, key=rules.__getitem__)
    return name, rules[name]


def known(value: float | None) -> bool:
    """Whether there is a number that is one."""
    return value is not None and math.isfinite(value)


def columns(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """(part, metric) of each column of the comparison, the test part's headline first."""
    test, validation = evaluation["test"], evaluation["validation"]
    rest = [name for name in test["metrics"] if name != test["headline"]]
    return [
        ("test", test["headline"]),
        ("validation", validation["headline"]),
        *(("test", name) for name in rest),
    ]


def predictors(evaluation: dict[str, Any]) -> list[Predictor]:
    """The network and each naive rule with their figures, one for each of `columns`."""
    table = [_cells(evaluation, part, name) for part, name in columns(evaluation)]
    names = ["the network", *evaluation["test"]["baselines"]]
    return [
        Predictor(name, i == 0, [column[i] for column in table]) for i, name in enumerate(names)
    ]


def _cells(evaluation: dict[str, Any], part: str, name: str) -> list[tuple[float | None, bool]]:
    measured = evaluation[part]
    rules = [measured["baselines"].get(rule, {}) for rule in evaluation["test"]["baselines"]]
    values = [figures.get(name) for figures in (measured["metrics"], *rules)]
    # Which way is better is known of the headline alone, so no other column has a best.
    numbers = [v for v in values if known(v)] if name == measured["headline"] else []
    best = (min if measured["lower_is_better"] else max)(numbers, default=None)
    return [(value, best is not None and value == best) for value in values]


def _compare(test: dict[str, Any], notes: list[str]) -> Verdict:
    name = metric(test["headline"])
    own, rule = test["metrics"][test["headline"]], best_rule(test)
    if not known(own):
        sentence = f"Its {name} on the test part is {figure(own)}, which is no number."
        return Verdict("bad", "The training broke down", sentence, notes)
    reached = f"Its {name} on the test part is {figure(own)}{_right(test)}"
    if rule is None:
        sentence = f"{reached}. No naive rule was measured."
        return Verdict("open", "There is nothing to compare with", sentence, notes)
    gain = _gain(own, rule[1], test["lower_is_better"])
    lower = f", so the network's is {100 * gain:.0f} % lower" if test["lower_is_better"] else ""
    sentence = f"{reached}; the best naive rule, {rule[0]}, has {figure(rule[1])}"
    if gain <= 0:
        return Verdict("bad", "The network did not beat a naive rule", f"{sentence}.", notes)
    if gain < HARDLY:
        return Verdict("fair", "The network hardly beats a naive rule", f"{sentence}.", notes)
    return Verdict("good", "The network learnt", f"{sentence}{lower}.", notes)


def _gain(own: float, rule: float, lower_is_better: bool) -> float:
    """What the network gains over the rule, as a share of the rule's figure."""
    return (rule - own if lower_is_better else own - rule) / (abs(rule) or 1.0)


def _right(test: dict[str, Any]) -> str:
    """For a classifier, how many of how many: it says how far to trust the figure."""
    confusion = test["details"].get("confusion")
    if not confusion:
        return ""
    right = sum(row[i] for i, row in enumerate(confusion))
    return f" ({right:,} of {sum(map(sum, confusion)):,} right)"


def _progress(run: Run) -> str:
    return (
        "The run has not been evaluated: it is still training, or it was stopped. So far it has "
        f"made {count(len(run.steps), 'training step')} in "
        f"{count(len(run.epochs), 'complete epoch')}."
    )


def _series(run: Run) -> tuple[list[str], list[list[tuple[int, float]]]]:
    return ["training loss", "gradient's norm", "validation loss"], [
        [(row.step, row.loss) for row in run.steps],
        [(row.step, row.gradient_norm) for row in run.steps],
        [(row.step, row.loss) for row in run.epochs],
    ]


def _broken(name: str, series: list[tuple[int, float]]) -> str:
    """Where a series stopped being numbers, in words; empty where it never did."""
    bad = [(step, value) for step, value in series if not math.isfinite(value)]
    if not bad:
        return ""
    step, value = bad[0]
    return (
        f"The {name} became {figure(value)} at step {step:,}; "
        f"{len(bad):,} of its {count(len(series), 'value')} are no numbers and are not drawn."
    )
