"""Windows of a forecast's history, and what is to be forecast at each of their steps."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptt.tasks.batches import ItemBatches
from bptt.tasks.task import Batch

MOST_WINDOWS = 8192  # an epoch has hardly more; longer series are read in larger strides


@dataclass(frozen=True)
class Windows:
    """M windows of W rows each.

    Attributes:
        starts: (M,) each window's first row.
        counted: (M,) the first row of it whose forecast counts.
        low: (M,) the first row that may be forecast.
        high: (M,) the row after the last that may be forecast.
    """

    starts: NDArray[np.int64]
    counted: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


def training_windows(first: NDArray[np.int64], end: NDArray[np.int64], window: int) -> Windows:
    """Windows that slide over each series' training rows; every step of them counts.

    Args:
        first: (S,) each series' first row.
        end: (S,) the row after its last in training.
    """
    room = end - window - first  # starts for which at least one row follows the window
    stride = _stride(int(room.sum()), window)
    starts = [np.arange(a, a + n, stride) for a, n in zip(first, room, strict=True)]
    counts = [len(s) for s in starts]
    flat = np.concatenate(starts)
    return Windows(flat, flat, np.repeat(first, counts), np.repeat(end, counts))


def rolling_windows(
    first: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    window: int,
    horizon: int,
) -> Windows:
    """Windows that end at each row from which a row of [low, high) can be forecast.

    Each forecast so sees a full window of history. In long parts a window counts for several of its
    last steps, at most half of them.
    """
    origins = np.maximum(low - horizon, first + window - 1)
    stride = _stride(int((high - 1 - origins).clip(0).sum()), max(1, window // 2))
    parts = []
    for origin, a, b in zip(origins, low, high, strict=True):
        counted = np.arange(origin, b - 1, stride)
        last = np.minimum(counted + stride, b - 1) - 1
        parts.append((last - window + 1, counted, np.full_like(last, a), np.full_like(last, b)))
    return Windows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _stride(windows: int, most: int) -> int:
    return min(max(1, -(-windows // MOST_WINDOWS)), most)


@dataclass(frozen=True)
class Rows:
    """What the N rows of a panel are to a network.

    Attributes:
        numeric: (N, F) float32 inputs.
        categorical: (N, C) codes.
        values: (N, K) float64 targets' history.
        truth: (N, K) float64 targets, NaN where there is none.
        deviation: (N, K) float64 spread of the series that a row belongs to.
        change: (H, K) float64: a forecast of 1 is a change by so many deviations.
    """

    numeric: Tensor
    categorical: Tensor
    values: Tensor
    truth: Tensor
    deviation: Tensor
    change: Tensor

    def unit(self, rows: Tensor) -> Tensor:
        """(..., H, K) the change that a forecast of 1 means at each of these rows."""
        return self.deviation[rows].unsqueeze(-2) * self.change


class WindowBatches(ItemBatches):
    """Batches of windows."""

    def __init__(
        self, rows: Rows, windows: Windows, window: int, batch_size: int, *, shuffle: bool
    ) -> None:
        super().__init__(len(windows), batch_size, shuffle=shuffle)
        self.rows = rows
        self.windows = windows
        self.window = window

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """Targets (T, B, H, K): changes in the rows' units, NaN where nothing is to be forecast."""
        rows, data = self.row_numbers(chosen), self.rows
        unit = data.unit(rows)
        ahead = rows[..., None] + torch.arange(1, len(data.change) + 1)
        counts = self._counts(chosen, rows, ahead)
        truth = data.truth[ahead.clamp(max=len(data.truth) - 1)]
        change = (truth - data.values[rows][:, :, None]) / unit
        targets = torch.where(counts[..., None], change, torch.nan)
        return Batch(data.numeric[rows], data.categorical[rows], targets.float())

    def row_numbers(self, chosen: NDArray[np.int64]) -> Tensor:
        """(T, B) rows of the chosen windows."""
        starts = torch.from_numpy(self.windows.starts[chosen])
        return starts + torch.arange(self.window)[:, None]

    def counted(self, chosen: NDArray[np.int64]) -> Tensor:
        """(T, B) whether a step's forecast counts."""
        return self.row_numbers(chosen) >= torch.from_numpy(self.windows.counted[chosen])

    def _counts(self, chosen: NDArray[np.int64], rows: Tensor, ahead: Tensor) -> Tensor:
        """(T, B, H) whether the row that lies that far ahead is to be forecast."""
        low, high, counted = (
            torch.from_numpy(column[chosen])
            for column in (self.windows.low, self.windows.high, self.windows.counted)
        )
        inside = (ahead >= low[:, None]) & (ahead < high[:, None])
        return inside & (rows >= counted)[..., None]
