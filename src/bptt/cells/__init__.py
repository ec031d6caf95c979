"""Recurrent cells, each written as its equations."""

from bptt.cells.constraints import Dale, Masked
from bptt.cells.elman import Elman
from bptt.cells.gru import GRU
from bptt.cells.grud import GRUD
from bptt.cells.indrnn import IndRNN
from bptt.cells.layer_norm_gru import LayerNormGRU
from bptt.cells.layer_norm_lstm import LayerNormLSTM
from bptt.cells.leaky import Leaky
from bptt.cells.lif import LIF, LIFState
from bptt.cells.lstm import LSTM, LSTMState
from bptt.cells.mgu import MGU
from bptt.cells.observed import Observed, observed
from bptt.cells.peephole_lstm import PeepholeLSTM
from bptt.cells.rhn import RHN
from bptt.cells.slstm import SLSTM, SLSTMState
from bptt.cells.surrogate import FastSigmoid, Surrogate, Triangle
from bptt.cells.ugrnn import UGRNN

__all__ = [
    "GRU",
    "GRUD",
    "LIF",
    "LSTM",
    "MGU",
    "RHN",
    "SLSTM",
    "UGRNN",
    "Dale",
    "Elman",
    "FastSigmoid",
    "IndRNN",
    "LIFState",
    "LSTMState",
    "LayerNormGRU",
    "LayerNormLSTM",
    "Leaky",
    "Masked",
    "Observed",
    "PeepholeLSTM",
    "SLSTMState",
    "Surrogate",
    "Triangle",
    "observed",
]
