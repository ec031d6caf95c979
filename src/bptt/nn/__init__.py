"""Modules shaped as torch.nn's, run by `bptt.unroll`."""

from bptt.nn.drop_in import GRU, LSTM, RNN
from bptt.nn.network import Network
from bptt.nn.recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN", "Network", "Recurrent"]
