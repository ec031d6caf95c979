"""A trained network's error at one time, and the earlier steps and inputs that it is blamed on."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.blame.blame import Blame, blame

__all__ = ["Blame", "blame"]

make_lazy(__name__, {"blame": ["Blame", "blame"]})
