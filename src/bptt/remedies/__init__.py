"""Remedies against overfitting that wrap a recurrent cell, whichever it is."""

from bptt.remedies.recurrent_dropout import RecurrentDropout
from bptt.remedies.weight_drop import WeightDrop
from bptt.remedies.zoneout import Zoneout

__all__ = ["RecurrentDropout", "WeightDrop", "Zoneout"]
