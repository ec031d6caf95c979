"""The report of a run: one HTML file that opens offline."""

from bptt.report.write import write_report

__all__ = ["write_report"]
