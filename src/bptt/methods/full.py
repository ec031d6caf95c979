"""The exact gradient: every loss goes back to the first step."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Full:
    """Exact back-propagation through time: each E_t goes back through every step before t.

    Source: Rumelhart, Hinton & Williams 1986; Werbos 1990.

    >>> Full()
    Full()
    """

    @property
    def alike(self) -> "Full":
        """A hashable way with the same runs: itself."""
        return self

    def spans(self, counts: Tensor) -> None:
        """No runs of their own: every loss goes back to the first step."""
