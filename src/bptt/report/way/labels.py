"""What steps and inputs are called."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Labels:
    """Names for what the arrays only number.

    Attributes:
        steps: of each step, from the first.
        inputs: of each number that goes in; a name may stand for several.
        start: the number of the first step, on axes: people count from 1.
    """

    steps: Sequence[str]
    inputs: Sequence[str] = ()
    start: int = 1


def numbered(steps: int, inputs: Sequence[str] = (), start: int = 1) -> Labels:
    """Steps called by their numbers.

    >>> numbered(2, start=7).steps
    ['step 7', 'step 8']
    """
    return Labels([f"step {step}" for step in range(start, start + steps)], inputs, start)
