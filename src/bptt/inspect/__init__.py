"""See the gradient travel: what each step is blamed for, how far back, and what cuts it off."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.inspect.credit import Credit, credit
    from bptt.inspect.jacobian import Jacobians, jacobians
    from bptt.inspect.lyapunov import Lyapunov, lyapunov
    from bptt.inspect.saturation import Saturation, saturation

__all__ = [
    "Credit",
    "Jacobians",
    "Lyapunov",
    "Saturation",
    "credit",
    "jacobians",
    "lyapunov",
    "saturation",
]

make_lazy(
    __name__,
    {
        "credit": ["Credit", "credit"],
        "jacobian": ["Jacobians", "jacobians"],
        "lyapunov": ["Lyapunov", "lyapunov"],
        "saturation": ["Saturation", "saturation"],
    },
)
