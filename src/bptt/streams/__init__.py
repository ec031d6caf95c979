"""Sequences longer than a batch's windows: laid into rows, and gone through window by window."""

from typing import TYPE_CHECKING

from bptt.lazy import make_lazy

if TYPE_CHECKING:
    from bptt.streams.callback import KeepStreams
    from bptt.streams.rows import Rows, Window, lay
    from bptt.streams.stream import Stream

__all__ = ["KeepStreams", "Rows", "Stream", "Window", "lay"]

make_lazy(
    __name__,
    {"callback": ["KeepStreams"], "rows": ["Rows", "Window", "lay"], "stream": ["Stream"]},
)
