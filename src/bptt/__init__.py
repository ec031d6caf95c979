"""Train recurrent networks by back-propagation through time, on PyTorch."""

from bptt import cells, nn
from bptt.methods import Full
from bptt.unroll import unroll
from bptt.version import __version__

__all__ = ["Full", "__version__", "cells", "nn", "unroll"]
