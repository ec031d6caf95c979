"""See the gradient travel: what each step is blamed for, how far back, and what cuts it off."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.inspect.callback import WatchCallback
    from bptt.inspect.credit import Credit, credit
    from bptt.inspect.decay import Decay, decay
    from bptt.inspect.diagnosis import Diagnosis, Finding, diagnose
    from bptt.inspect.jacobian import Jacobians, jacobians
    from bptt.inspect.lyapunov import Lyapunov, lyapunov
    from bptt.inspect.memory import Memory, memory
    from bptt.inspect.saturation import Saturation, saturation
    from bptt.inspect.truncation import Truncation, truncation
    from bptt.inspect.watch import Watch, watch

__all__ = [
    "Credit",
    "Decay",
    "Diagnosis",
    "Finding",
    "Jacobians",
    "Lyapunov",
    "Memory",
    "Saturation",
    "Truncation",
    "Watch",
    "WatchCallback",
    "credit",
    "decay",
    "diagnose",
    "jacobians",
    "lyapunov",
    "memory",
    "saturation",
    "truncation",
    "watch",
]

make_lazy(
    __name__,
    {
        "callback": ["WatchCallback"],
        "credit": ["Credit", "credit"],
        "decay": ["Decay", "decay"],
        "diagnosis": ["Diagnosis", "Finding", "diagnose"],
        "jacobian": ["Jacobians", "jacobians"],
        "lyapunov": ["Lyapunov", "lyapunov"],
        "memory": ["Memory", "memory"],
        "saturation": ["Saturation", "saturation"],
        "truncation": ["Truncation", "truncation"],
        "watch": ["Watch", "watch"],
    },
)
