"""Random numbers drawn inside a step, the same however often and in whatever order steps are run.

Operation i of a step draws, for steps [64j, 64j + 64), from a generator seeded by (seed, i, j): the
64 steps' uniform or normal numbers at once, of which step t takes its own. So the numbers depend on
nothing but the seed of the unroll, which is taken from torch's generator when a step first draws.
Operations with no uniform or normal to start from (multinomial, poisson, ...) use a generator
seeded by (seed, i, t) for the step alone.
"""

from bptt.draws.draws import Draws
from bptt.draws.settled import settled
from bptt.draws.source import BLOCK

__all__ = ["BLOCK", "Draws", "settled"]
