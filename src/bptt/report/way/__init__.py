"""The gradient's way through time, as findings and charts of a page."""

from bptt.report.way.given import way_of_batch
from bptt.report.way.section import Way, way_of
from bptt.report.way.trained import way_of_run

__all__ = ["Way", "way_of", "way_of_batch", "way_of_run"]
