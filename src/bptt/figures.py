"""Numbers, times and names as a reader wants to see them."""

import math
from collections.abc import Iterable

METRICS = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mase": "mean absolute scaled error",
    "macro_f1": "macro F1",
}

# What is not plain from the name, of metrics and of naive rules.
MEANINGS = {
    "mase": "Mean absolute scaled error: the error in units of the mean absolute change from one "
    "row to the next in training.",
    "macro_f1": "Macro F1: the mean over all labels of F1, the harmonic mean of recall and "
    "precision.",
    "bits_per_character": "Bits per character: the mean of minus log2 of the probability that was "
    "given to what came.",
    "perplexity": "Perplexity: among so many equally likely characters it would be as hard to "
    "guess.",
    "last value": "Last value: everything stays as it is.",
    "seasonal naive": "Seasonal naive (m): the value of m rows before.",
    "majority class": "Majority class: always the label that is commonest in training.",
    "unigram": "Unigram: each character by how common it is in training.",
    "bigram": "Bigram: the same, after the character before it.",
}


def meanings(names: Iterable[str]) -> list[str]:
    """What metrics and naive rules mean, each told once, where the name does not say it.

    >>> meanings(["mae", "last value"])
    ['Last value: everything stays as it is.']
    """
    kinds = dict.fromkeys(name.partition("[")[0].partition(" (")[0] for name in names)
    return [MEANINGS[kind] for kind in kinds if kind in MEANINGS]


def figure(value: float | None) -> str:
    """Four significant digits, thousands marked; a minus sign that is one.

    >>> [figure(x) for x in (0.123456, 12345.6, 20, -2.5, 1.5e-7, float("nan"), None)]
    ['0.1235', '12,346', '20', '−2.5', '1.5e−07', 'NaN', '–']
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        text = f"{value:.4g}"
    elif value == round(value) or abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def rough(value: float) -> str:
    """Two significant digits, for what is estimated.

    >>> [rough(x) for x in (0.008877, 4.977, 1234.5)]
    ['0.0089', '5', '1,200']
    """
    return figure(float(f"{value:.2g}"))


def duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [duration(s) for s in (0.4, 72, 3700)]
    ['0.4 s', '1 min 12 s', '1 h 1 min']
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def metric(name: str) -> str:
    """A metric's name in words.

    >>> metric("mae"), metric("bits_per_character"), metric("mae[wind_speed]")
    ('mean absolute error', 'bits per character', 'mean absolute error, wind_speed')
    """
    kind, _, target = name.partition("[")
    plain = METRICS.get(kind, words(kind))
    return f"{plain}, {target[:-1]}" if target else plain


def count(number: int, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "epoch"), count(1250, "step")
    ('1 epoch', '1,250 steps')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share in whole percent; all and nothing only where it is.

    >>> [percent(s) for s in (1.0, 0.998, 0.5, 0.001, 0.0, None)]
    ['100 %', '>99 %', '50 %', '<1 %', '0 %', '–']
    """
    if share is None:
        return "–"
    whole = round(100 * share)
    if whole in (0, 100) and share not in (0, 1):
        return ">99 %" if whole else "<1 %"
    return f"{whole} %"


def words(name: str) -> str:
    """A name from a file as words.

    >>> words("batch_size")
    'batch size'
    """
    return name.replace("_", " ")


def shortened(text: object, longest: int = 200) -> str:
    """A text that is cut where it is long, saying so.

    >>> shortened("abcdef", 4)
    'abcd… (6 characters)'
    """
    whole = str(text)
    return whole if len(whole) <= longest else f"{whole[:longest]}… ({len(whole):,} characters)"


def visible(text: object) -> str:
    r"""A text in which line ends and the like are seen.

    >>> print(visible("a\n b"))
    a\n b
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
