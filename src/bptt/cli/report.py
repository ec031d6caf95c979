"""`bptt report`."""

from pathlib import Path


def report(run: Path, /) -> None:
    """Write a run's report again, as of now: also while it is being trained.

    Parameters
    ----------
    run
        Folder of a run.
    """
    from bptt.report import write_report
    from bptt.train.run import Run

    print(write_report(Run.open(run).folder))
