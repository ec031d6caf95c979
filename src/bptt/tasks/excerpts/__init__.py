"""Stretches of a task's test data, each step with the names and numbers that its user knows."""

from bptt.tasks.excerpts.excerpt import Answer, Excerpt, Wanted
from bptt.tasks.excerpts.take import take_excerpt

__all__ = ["Answer", "Excerpt", "Wanted", "take_excerpt"]
