"""Pages that open offline: of a run, and of a model and a batch.

`bptt.report` is the function `report` of this package, as `bptt.unroll` is the one of its module
(see `bptt.lazy`); `from bptt.report import write_report` takes from the package as ever.
"""

from bptt.report.batch import report
from bptt.report.write import write_report

__all__ = ["report", "write_report"]
