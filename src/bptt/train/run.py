"""A run's folder: what lies in it, how it is made, and how it is told from any other folder."""

import json
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from bptt.errors import RunError
from bptt.train.config import Config
from bptt.train.files import explained, write_atomically


class Run:
    """The folder of one run.

    config.toml     what was asked for
    model.json      the network and the task, enough to use the weights
    model.safetensors   the weights of the best epoch so far
    metrics.csv     a row for each step and for each look at the validation part
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
        self.evaluation = folder / "evaluation.json"
        self.report = folder / "report.html"
        self.checkpoint = folder / "checkpoint" / "state.pt"

    def __str__(self) -> str:
        return str(self.folder)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """The run in a folder.

        Raises:
            RunError: there is no such folder, or it does not hold a run.
        """
        if not folder.is_dir():
            raise RunError(f"expected the folder of a run; there is no folder {folder}")
        run = cls(folder)
        if not run.is_run():
            raise RunError(
                f"expected the folder of a run; {folder} holds no config.toml of one. "
                "`bptt train` makes such folders, under runs/ if not told otherwise"
            )
        return run

    def is_run(self) -> bool:
        """Whether the folder is recognisably a run: its config.toml names bptt's version."""
        try:
            content = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return False
        return "format" in content and "bptt" in content.get("versions", {})

    def read_config(self) -> Config:
        """What the run was asked for. Raises `RunError` if config.toml is broken or newer."""
        try:
            return Config.from_toml(self.config.read_text(encoding="utf-8"))
        except RunError as error:
            raise RunError(f"{self.config} cannot be used: {error}") from error

    def write_config(self, config: Config) -> None:
        write_atomically(self.config, tomli_w.dumps(config.to_dict()).encode())

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
        for path in (self.checkpoint, self.metrics, self.weights, self.model, self.config):
            path.unlink(missing_ok=True)


def check_place(out: Path | None, *, overwrite: bool) -> None:
    """Raise `RunError` if a run must not be put at `out`: nothing is lost without being told."""
    if out is None or not out.exists():
        return
    if not out.is_dir():
        raise RunError(f"expected --out to be a folder; {out} is a file")
    if not any(out.iterdir()):
        return
    if not Run(out).is_run():
        raise RunError(
            f"{out} is not empty and holds no run, so nothing in it is overwritten. "
            "Choose another folder with --out"
        )
    if not overwrite:
        raise RunError(
            f"there is a run in {out} already. Choose another folder with --out, replace that run "
            f"with --overwrite, or go on with it: bptt train --resume {out}"
        )


def make_run(out: Path | None, name: str, *, overwrite: bool) -> Run:
    """An empty folder for a new run: `out`, or the first free runs/<name>-<n>."""
    if out is None:
        return _make_numbered(Path("runs"), name)
    check_place(out, overwrite=overwrite)
    with explained(out):
        run = Run(out)
        if run.is_run():
            run._clear()
        run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    return run


def _make_numbered(parent: Path, name: str) -> Run:
    with explained(parent):
        parent.mkdir(exist_ok=True)
        taken = {path.name for path in parent.iterdir()}
        number = next(n for n in range(1, len(taken) + 2) if f"{name}-{n}" not in taken)
        run = Run(parent / f"{name}-{number}")
        run.checkpoint.parent.mkdir(parents=True)
    return run
