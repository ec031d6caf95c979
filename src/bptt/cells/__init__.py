"""Recurrent cells, each written as its equations."""

from bptt.cells.elman import Elman
from bptt.cells.gru import GRU
from bptt.cells.lstm import LSTM, LSTMState

__all__ = ["GRU", "LSTM", "Elman", "LSTMState"]
