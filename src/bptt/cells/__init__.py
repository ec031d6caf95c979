"""Recurrent cells, each written as its equations."""

from bptt.cells.elman import Elman

__all__ = ["Elman"]
