"""The version of bptt, and nothing else, so that the build reads it without importing torch."""

__version__ = "0.1.0"
