"""An unroll on a backend with kernels: columns beside the loop by torch, the loop by a kernel.

Forward: what depends on weights alone, then on inputs alone for all steps at once, then the loop's
kernel, then what no next state needs. Backward the same with adjoints. Between them lies what was
stored: the states, and the few values that cost more to compute again than to keep. Calls that
nothing is odd about are written out as lines of Python, once for each plan (`written.py`).
"""

from bptt.fused.function import run
from bptt.fused.job import Job

__all__ = ["Job", "run"]
