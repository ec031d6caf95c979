"""The answer first: did the network learn, how well, and against which naive rule."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from bptt.figures import count, figure, metric
from bptt.folder.read import Run

HARDLY = 0.02  # a gain below 2 % of the naive rule's figure is not called learning
DOUBT = 0.05  # nor is one that chance alone would give more often than this


Mark = Literal["good", "fair", "bad", "open"]


@dataclass(frozen=True)
class Verdict:
    """The answer, in a few words and in a sentence with its figures.

    Attributes:
        mark: good, fair or bad; open while there is nothing to judge by.
        answer: a few words.
        sentence: the same with its figures.
        notes: facts that a reader must not miss, such as a loss that became NaN.
        advice: what to try; "" where the gradient's way says it better.
    """

    mark: Mark
    answer: str
    sentence: str
    notes: list[str]
    advice: str = ""


@dataclass(frozen=True)
class Comparison:
    """One figure of the network and of each naive rule.

    Attributes:
        metric: its name, as in the file.
        decides: whether it is the headline.
        cells: the network's, then each rule's, and whether that is the best.
    """

    metric: str
    decides: bool
    cells: list[tuple[float | None, bool]]

    @property
    def kind(self) -> str:
        """The metric without the target that it is of."""
        return self.metric.partition("[")[0]

    @property
    def target(self) -> str:
        """The target that it is of, where there are several."""
        return self.metric.partition("[")[2][:-1]


def judge(run: Run) -> Verdict:
    """What a run's files say of the network."""
    notes = [note for note in map(_broken, *_series(run)) if note]
    if run.evaluation is None and notes:
        sentence = f"{notes[0]} Before, there had been {_progress(run)}."
        return Verdict("bad", "The training broke down", sentence, notes[1:], _calmer(run))
    if run.evaluation is None:
        why = "The run has not been evaluated: it is still training, or it was stopped."
        sentence = f"{why} So far it has made {_progress(run)}."
        return Verdict("open", "No verdict yet", sentence, notes)
    return _weigh(run, run.evaluation["test"], notes)


def best_rule(evaluation: dict[str, Any]) -> tuple[str, float] | None:
    """The naive rule with the best headline figure, and that figure."""
    headline = evaluation["headline"]
    rules = {n: f[headline] for n, f in evaluation["baselines"].items() if known(f.get(headline))}
    if not rules:
        return None
    choose = min if evaluation["lower_is_better"] else max
    name = choose(rules, key=rules.__getitem__)
    return name, rules[name]


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number that is one."""
    return value is not None and math.isfinite(value)


def compare(measured: dict[str, Any]) -> list[Comparison]:
    """The network beside each naive rule on one part: a row a metric, the headline first."""
    rest = [name for name in measured["metrics"] if name != measured["headline"]]
    return [_comparison(measured, name) for name in (measured["headline"], *rest)]


def _comparison(measured: dict[str, Any], name: str) -> Comparison:
    values = [f.get(name) for f in (measured["metrics"], *measured["baselines"].values())]
    alone = sum(value is not None for value in values) == 1
    numbers = [value for value in values if known(value) and not alone]
    best = (min if measured["lower_is_better"] else max)(numbers, default=None)
    cells = [(value, best is not None and value == best) for value in values]
    return Comparison(name, name == measured["headline"], cells)


def _calmer(run: Run) -> str:
    """What keeps numbers from growing until they are none, beside what was done."""
    training = run.config["training"]
    clip = training["clip"]
    bound = f"--clip below {figure(clip)}" if clip else "--clip 1 (the gradient was not clipped)"
    return (
        f"a smaller --learning-rate than {figure(training['learning_rate'])}, or {bound}. If it "
        "breaks down at the first steps all the same, look for enormous values in the data."
    )


def _weigh(run: Run, test: dict[str, Any], notes: list[str]) -> Verdict:
    own, rule = test["metrics"][test["headline"]], best_rule(test)
    name = metric(test["headline"])
    reached = f"{name[0].upper()}{name[1:]} on the test part: {figure(own)}{_right(test)}"
    if not known(own):
        return Verdict(
            "bad", "The training broke down", f"{reached}, which is no number.", notes, _calmer(run)
        )
    if rule is None:
        sentence = f"{reached}. No naive rule was measured."
        return Verdict("open", "There is nothing to compare with", sentence, notes)
    sentence = f"{reached}, against {figure(rule[1])} for the best naive rule, {rule[0]}."
    gain = _gain(own, rule[1], test["lower_is_better"])
    if gain <= 0:
        return Verdict("bad", "The network did not beat a naive rule", sentence, notes)
    if gain < HARDLY:
        return Verdict("fair", "The network hardly beats a naive rule", sentence, notes)
    if test["lower_is_better"]:
        sentence += f" That is {100 * gain:.0f} % lower."
    sentence += _by_target(test)
    chance = test.get("chance")
    if known(chance):
        sentence += f" Chance alone would give such a lead in {_odds(chance)} (sign-flip test)."
    if known(chance) and chance > DOUBT:
        return Verdict("fair", "Better than a naive rule, perhaps by chance", sentence, notes)
    return Verdict("good", "The network learnt", sentence, notes)


def _by_target(test: dict[str, Any]) -> str:
    """At how many of several targets no naive rule is better; "" where that is so of all."""
    own = [row for row in compare(test) if row.target and row.kind == test["headline"]]
    better = sum(row.cells[0][1] for row in own)
    return "" if better == len(own) else f" It is best at {better} of {len(own)} targets."


def _odds(chance: float) -> str:
    """A probability in words.

    >>> _odds(0.25), _odds(0.0312), _odds(0.0)
    ('25 of 100 cases', '3 of 100 cases', 'fewer than 1 of 1,000 cases')
    """
    if chance < 0.001:
        return "fewer than 1 of 1,000 cases"
    if chance < 0.01:
        return f"{1000 * chance:.0f} of 1,000 cases"
    return f"{100 * chance:.0f} of 100 cases"


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
    """How far training came: the steps with a gradient, and the epochs to their end."""
    steps = sum(math.isfinite(row.gradient_norm) for row in run.steps)
    return f"{count(steps, 'training step')} in {count(len(run.epochs), 'complete epoch')}"


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
