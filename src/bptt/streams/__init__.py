"""Sequences longer than a batch's windows: laid into rows, and gone through window by window."""

from bptt.streams.rows import Rows, Window, lay
from bptt.streams.stream import Stream

__all__ = ["Rows", "Stream", "Window", "lay"]
