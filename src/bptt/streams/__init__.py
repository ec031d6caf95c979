"""Sequences longer than a batch's windows: laid into rows, so that the state carries on."""

from bptt.streams.rows import Rows, Window, lay

__all__ = ["Rows", "Window", "lay"]
