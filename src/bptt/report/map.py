"""A map of numbers over two axes as plain data, small enough to travel in a page."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

CELLS = 128  # along an axis at most: a phone has no pixels for more
ROOM = 700_000  # bytes that a map may take in a page, all its layers together
LEVELS = 9  # of colour: half a decade each, below the largest number of the map


@dataclass(frozen=True)
class Side:
    """One axis of a map.

    Attributes:
        name: what lies along it.
        labels: what each place is called, from the axis' start.
        prefix: what is said before a label: "loss at".
        named: whether the places are told apart by names alone; else they are counted.
        start: the number of the first place, where they are counted.
    """

    name: str
    labels: Sequence[str]
    prefix: str = ""
    named: bool = False
    start: int = 0


@dataclass(frozen=True)
class Layer:
    """One choice of what the map shows: (rows, columns), in the order of the sides' labels."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Map:
    """What is to be drawn.

    Attributes:
        title: what is drawn.
        unit: what a number is.
        file: a name for the table of it.
        words: what a reader who does not see it should know.
        across: the columns, from left to right.
        up: the rows, from the bottom to the top.
        layers: what can be chosen, the first one at first.
        choice: what is chosen: "gradient of".
        stops: for each row, how many of its columns there are; None: all. What comes before a time
            ends with it.
        height: in pixels.
        room: bytes that it may take; where it has more cells, each stands for several.
    """

    title: str
    unit: str
    file: str
    words: str
    across: Side
    up: Side
    layers: Sequence[Layer]
    choice: str = "of"
    stops: Sequence[int] | None = None
    height: int = 360
    room: int = ROOM

    def packed(self) -> dict[str, Any]:
        """What the page's script unpacks: binned where there are many cells, float32 in base64."""
        most = self._most
        rows, columns = _edges(len(self.up.labels), most), _edges(len(self.across.labels), most)
        lasts = self._lasts(rows)
        stops = [int(np.searchsorted(columns, last)) for last in lasts]
        return {
            "up": _side(self.up, rows),
            "across": _side(self.across, columns),
            "stops": stops,
            "lasts": lasts if self.stops else [],
            "layers": [
                {"name": layer.name, "cells": _pack(_binned(layer.values, rows, columns), stops)}
                for layer in self.layers
            ],
        }

    def _lasts(self, rows: Sequence[int]) -> list[int]:
        """For each bin of rows, how many columns its longest row has."""
        stops = self.stops or [len(self.across.labels)] * len(self.up.labels)
        return [max(stops[a:b]) for a, b in pairwise(rows)]

    @property
    def note(self) -> str:
        """That a cell stands for several places, if so; "" if not."""
        most = self._most
        rows, columns = (bin_size(len(side.labels), most) for side in (self.up, self.across))
        if max(rows, columns) == 1:
            return ""
        square = f"{rows} by {columns}" if min(rows, columns) > 1 else f"{max(rows, columns)}"
        return f"Each cell is the largest number of {square} steps."

    @property
    def _most(self) -> int:
        """Cells along an axis."""
        return cells_for(len(self.layers), self.room)

    @property
    def levels(self) -> range:
        """Of colour, from what is hardly there to the largest number."""
        return range(LEVELS)


def cells_for(layers: int, room: int = ROOM) -> int:
    """Along an axis at most, if so many layers are to keep within a page; a float32 takes 16/3.

    >>> cells_for(1), cells_for(20)
    (128, 81)
    """
    return min(CELLS, max(8, math.isqrt(3 * room // (16 * max(1, layers)))))


def bin_size(length: int, most: int) -> int:
    """How many places of an axis share a cell.

    >>> bin_size(128, 128), bin_size(129, 128)
    (1, 2)
    """
    return max(1, -(-length // most))


def _edges(length: int, most: int) -> list[int]:
    """Where bins begin, and where the last one ends.

    >>> _edges(3, 9), _edges(5, 2)
    ([0, 1, 2, 3], [0, 3, 5])
    """
    return [*range(0, length, bin_size(length, most)), length]


def _side(side: Side, edges: Sequence[int]) -> dict[str, Any]:
    """A side with a label for each bin, and where on the axis the bins begin and end.

    A place is as wide as one, and its number in its middle.
    """
    ends = [(a, b - 1) for a, b in pairwise(edges)]
    labels = [
        side.labels[a] if a == b else f"{side.labels[a]} to {side.labels[b]}" for a, b in ends
    ]
    return {
        "name": side.name,
        "prefix": side.prefix,
        "labels": labels,
        "edges": [side.start + edge - 0.5 for edge in edges],
    }


def _binned(values: np.ndarray, rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
    """The largest number of each bin; NaN where one is NaN."""
    tall = np.maximum.reduceat(values, rows[:-1], axis=0)
    return np.maximum.reduceat(tall, columns[:-1], axis=1)


def _pack(values: np.ndarray, stops: Sequence[int]) -> str:
    """Row after row up to where it stops, as little-endian float32."""
    cells = [row[:stop] for row, stop in zip(values, stops, strict=True)]
    return base64.b64encode(np.concatenate(cells).astype("<f4").tobytes()).decode()
