"""The founding example, worked with real numbers: what `bptt explain` shows, as tensors."""

from bptt.lesson.activations import ACTIVATIONS
from bptt.lesson.chain import Chain, back
from bptt.lesson.checks import Check, check
from bptt.lesson.example import Example, Weights, make_example
from bptt.lesson.forward import Forward, run
from bptt.lesson.lesson import Lesson, work
from bptt.lesson.losses import CROSS_ENTROPY, LOSSES, SQUARED, Loss

__all__ = [
    "ACTIVATIONS",
    "CROSS_ENTROPY",
    "LOSSES",
    "SQUARED",
    "Chain",
    "Check",
    "Example",
    "Forward",
    "Lesson",
    "Loss",
    "Weights",
    "back",
    "check",
    "make_example",
    "run",
    "work",
]
