"""Jobs, clocks and pages of `benchmarks/methods.py`: ways back through time."""
