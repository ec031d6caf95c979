"""From a run's folder to the report in it."""

from pathlib import Path

from bptt.folder.files import write_atomically
from bptt.folder.read import read_run


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder: one file that opens offline.

    Args:
        run: the folder of a run, finished or still training.

    Returns:
        Where the report is.

    Raises:
        RunError: a file of the run is missing or broken, or the report cannot be written.
    """
    # Here, for the charts' library takes half a second that other commands need not wait.
    from bptt.report.page import render
    from bptt.report.small import fit
    from bptt.report.way import way_of_run

    report = run / "report.html"
    read = read_run(run)
    page = fit(way_of_run(run), lambda way: render(read, way))
    write_atomically(report, page.encode())
    return report
