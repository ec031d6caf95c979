"""A run's folder: what lies in it, how it is made, and how it is told from any other folder."""

import json
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import tomli_w
from safetensors.torch import save
from torch import Tensor

from bptt.errors import RunError
from bptt.folder.damage import check_format, read_table, taken_apart
from bptt.folder.files import explained, write_atomically
from bptt.train.config import Config
from bptt.train.lock import Lock

RUNS = Path("runs")  # where runs go if not told otherwise


class Run:
    """The folder of one run.

    config.toml     what was asked for
    model.json      the network and the task, enough to use the weights
    model.safetensors   the weights of the best epoch so far
    metrics.csv     a row for each step and for each look at the validation part
    gradient.csv    figures of the gradient's way back through time, every so many steps
    evaluation.json figures on the validation and test parts, once training is over
    report.html     the same as a page
    checkpoint/     what --resume needs
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.model = folder / "model.json"
        self.weights = folder / "model.safetensors"
        self.metrics = folder / "metrics.csv"
        self.gradient = folder / "gradient.csv"
        self.evaluation = folder / "evaluation.json"
        self.report = folder / "report.html"
        self.checkpoint = folder / "checkpoint" / "state.pt"
        self.lock = self.checkpoint.with_name("lock")
        self._held: Lock | None = None

    def __str__(self) -> str:
        return str(self.folder)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """The run in a folder.

        Raises:
            RunError: there is no such folder, it does not hold a run, or its config.toml is
                missing, damaged, or of another format.
        """
        if not folder.is_dir():
            what = f"{folder} is a file" if folder.is_file() else f"there is no folder {folder}"
            raise RunError(f"expected the folder of a run; {what}")
        run = cls(folder)
        if not any(path.exists() for path in (run.config, run.model, run.metrics, run.checkpoint)):
            raise RunError(
                f"expected the folder of a run; {folder} holds none of its files. "
                "`bptt train` makes such folders, under runs/ if not told otherwise"
            )
        run.read_config()
        return run

    def is_run(self) -> bool:
        """Whether the folder is recognisably a run, so that its files may be replaced."""
        try:
            content = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return False
        return "format" in content and "bptt" in content.get("versions", {})

    def read_config(self) -> Config:
        """What the run was asked for.

        Raises:
            RunError: config.toml is missing, damaged, or of another format.
        """
        content = read_table(self.config, tomllib.loads)
        check_format(self.config, content)
        with taken_apart(self.config):
            return Config.from_dict(content)

    def hold(self) -> None:
        """Keep other processes from training this run. Raises `RunError` if one does already."""
        if self._held is None:
            with explained(self.folder):
                self.lock.parent.mkdir(parents=True, exist_ok=True)
                self._held = Lock(self.lock)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run until training is done with it, or until something goes wrong in here."""
        self.hold()
        try:
            yield
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let other processes train it."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def write_config(self, config: Config) -> None:
        write_atomically(self.config, tomli_w.dumps(config.to_dict()).encode())

    def write_weights(self, weights: dict[str, Tensor]) -> None:
        write_atomically(self.weights, save(weights))

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def clear_verdict(self) -> None:
        """Remove what was said at the end of training, for training goes on."""
        with explained(self.folder):
            self.evaluation.unlink(missing_ok=True)
            self.report.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove a run's own files, its config last; whatever else lies in the folder stays."""
        self.clear_verdict()
        own = (self.checkpoint, self.metrics, self.gradient, self.weights, self.model, self.config)
        for path in own:
            path.unlink(missing_ok=True)


def check_place(out: Path | None, *, overwrite: bool) -> None:
    """Raise `RunError` if a run must not be put at `out`: nothing is lost without being told."""
    folder = RUNS if out is None else out
    if folder.exists() and not folder.is_dir():
        raise RunError(f"expected {folder} to be a folder; it is a file. Choose another with --out")
    if out is None or _is_empty(out):
        return
    if not Run(out).is_run():
        raise RunError(
            f"{out} is not empty and holds no run, so nothing in it is overwritten. "
            "Choose another folder with --out"
        )
    if not overwrite:
        raise _in_the_way(out)


def make_run(out: Path | None, name: str, *, overwrite: bool) -> Run:
    """An empty folder for a new run, held: `out`, or the first free runs/<name>-<n>."""
    check_place(out, overwrite=overwrite)
    if out is None:
        return _make_numbered(name)
    run = Run(out)
    run.hold()
    if run.is_run() and not overwrite:  # one that has come since
        run.release()
        raise _in_the_way(out)
    if run.is_run():
        with explained(out):
            run._clear()
    return run


def _is_empty(folder: Path) -> bool:
    """Whether there is no file in it, but for the lock of a run that never began."""
    lock = Run(folder).lock
    return all(path == lock or path.is_dir() for path in folder.rglob("*"))


def _in_the_way(out: Path) -> RunError:
    return RunError(
        f"there is a run in {out} already. Choose another folder with --out, replace that run "
        f"with --overwrite, or go on with it: bptt train --resume {shlex.quote(str(out))}"
    )


def _make_numbered(name: str) -> Run:
    for number in count(1):
        run = Run(RUNS / f"{name}-{number}")
        with explained(RUNS), suppress(FileExistsError):
            run.folder.mkdir(parents=True)
            run.hold()
            break
    return run
