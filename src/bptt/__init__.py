"""Train recurrent networks by back-propagation through time, on PyTorch."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy
from bptt.version import __version__

if TYPE_CHECKING:
    from bptt import cells, errors, inspect, methods, nn, picture, remedies, streams, testing
    from bptt.finite import detect_nonfinite
    from bptt.methods import Checkpointed, Full, Truncated
    from bptt.plan import Plan, plan
    from bptt.report import report
    from bptt.streams import Stream
    from bptt.unroll import unroll

__all__ = [
    "Checkpointed",
    "Full",
    "Plan",
    "Stream",
    "Truncated",
    "__version__",
    "cells",
    "detect_nonfinite",
    "errors",
    "inspect",
    "methods",
    "nn",
    "picture",
    "plan",
    "remedies",
    "report",
    "streams",
    "testing",
    "unroll",
]

make_lazy(
    __name__,
    {
        "finite": ["detect_nonfinite"],
        "methods": ["Checkpointed", "Full", "Truncated"],
        "plan": ["Plan", "plan"],
        "report": ["report"],
        "streams": ["Stream"],
        "unroll": ["unroll"],
    },
)
