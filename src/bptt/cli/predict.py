"""`bptt predict`."""

import io
import shlex
import sys
from pathlib import Path

from bptt.errors import ArgumentError, RunError


def predict(run: Path, data: str, /, *, out: Path | None = None, overwrite: bool = False) -> None:
    """Forecast what follows the data, or classify its sequences, with a trained network.

    Parameters
    ----------
    run
        Folder of a trained network.
    data
        A file with the columns of the one it was trained on, or a name that `bptt datasets` lists.
    out
        File for the answer, .csv or .parquet; without it, CSV on the screen.
    overwrite
        Replace that file if there is one.
    """
    from bptt.cli.trained import load_trained
    from bptt.folder.files import write_atomically
    from bptt.tasks.classify import Classify
    from bptt.tasks.forecast import Forecast
    from bptt.tasks.opening import find_source

    if out is not None:
        _check_place(out, overwrite=overwrite)
    trained = load_trained(run)
    if not isinstance(trained.task, Forecast | Classify):
        raise RunError(
            f"expected a run that forecasts or classifies; {run} was trained on a text, and "
            f"writes: bptt generate {shlex.quote(str(run))} --prompt TEXT"
        )
    table = trained.task.predict(trained.forward, find_source(data, None).path)
    if out is None:
        sys.stdout.write(table.write_csv())
        return
    content = io.BytesIO()
    table.write_csv(content) if out.suffix == ".csv" else table.write_parquet(content)
    write_atomically(out, content.getvalue())


def _check_place(out: Path, *, overwrite: bool) -> None:
    if out.suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"expected --out to end in .csv or .parquet; got {out}")
    if not out.parent.is_dir():
        raise ArgumentError(f"--out {out}: there is no folder {out.parent}. Make it first")
    if out.exists() and not overwrite:
        raise ArgumentError(f"there is {out} already. Choose another --out, or add --overwrite")
