"""See the gradient travel: what each step is blamed for, how far back, and what cuts it off."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.inspect.callback import WatchCallback
    from bptt.inspect.credit import Credit, credit
    from bptt.inspect.jacobian import Jacobians, jacobians
    from bptt.inspect.lyapunov import Lyapunov, lyapunov
    from bptt.inspect.saturation import Saturation, saturation
    from bptt.inspect.watch import Watch, watch

__all__ = [
    "Credit",
    "Jacobians",
    "Lyapunov",
    "Saturation",
    "Watch",
    "WatchCallback",
    "credit",
    "jacobians",
    "lyapunov",
    "saturation",
    "watch",
]

make_lazy(
    __name__,
    {
        "callback": ["WatchCallback"],
        "credit": ["Credit", "credit"],
        "jacobian": ["Jacobians", "jacobians"],
        "lyapunov": ["Lyapunov", "lyapunov"],
        "saturation": ["Saturation", "saturation"],
        "watch": ["Watch", "watch"],
    },
)
