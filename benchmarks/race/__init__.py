"""Cells, peers and clocks of `benchmarks/speed.py`."""
