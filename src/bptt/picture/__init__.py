"""The network unfolded in time, with the gradient that travels on its lines."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.picture.unfolded import Unfolded, draw

__all__ = ["Unfolded", "draw"]

make_lazy(__name__, {"unfolded": ["Unfolded", "draw"]})
