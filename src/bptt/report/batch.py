"""A page for a model and a batch alone: the gradient's way, without a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptt.figures import count

# Importing the package, which every command does, is not to import torch.
if TYPE_CHECKING:
    from torch import Tensor

    from bptt.inspect import Finding
    from bptt.report.verdict import Mark
    from bptt.report.way import Way

HEADINGS: dict[str, tuple["Mark", str]] = {
    "problem": ("bad", "Something stands in the gradient's way"),
    "warning": ("fair", "The gradient gets through, with reservations"),
}
THROUGH: tuple["Mark", str] = ("good", "Nothing stands in the gradient's way")


def report(
    model: Any,
    inputs: Any,
    loss: "Callable[..., Tensor] | None" = None,
    *,
    targets: Any = None,
    state: Any = None,
    lengths: Any = None,
    reset: "Tensor | None" = None,
    reset_state: Any = None,
    names: Sequence[str] = (),
    path: str | Path = "report.html",
    title: str | None = None,
) -> Path:
    """Write one HTML file that shows how the gradient travels through a model on a batch.

    Args:
        model: a cell, as `bptt.unroll` takes it; a module of `bptt.nn` of one direction; or a model
            of your own whose forward runs one of these. Then its recurrent part is looked at, and
            all that comes after belongs to the loss.
        inputs: (T, B, ...), laid out as the model's forward takes it; of a model of your own,
            whatever its forward takes.
        loss: `loss(outputs, targets)`, or `loss(outputs)` without targets: (T, B) or (T, B, ...),
            each step's from that step's output alone. None: the squared error, or a network's own.
            Of the outputs of a model of your own it may be (B, T) too, or (B,): of each sequence's
            last step.
        targets: laid out as the inputs; of a model of your own, as the loss takes them.
        state, lengths, reset, reset_state: as for `bptt.unroll`; those that are given go to the
            forward of a model of your own, by name.
        names: of the inputs' features, for the memory of each.
        path: where the page goes; one that is there is replaced.
        title: of the page; None: the model's class.

    Returns:
        Where the page is. It opens offline, has a table and the data of every chart, and stays
        under 2 MB.

    Raises:
        ArgumentError: what does not fit, as `bptt.inspect.credit` says.
        RunError: the file cannot be written.
        ModuleNotFoundError: the packages of `bptt[report]` are missing.

    >>> import tempfile, torch, bptt
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = bptt.report(
    ...         bptt.cells.Elman(2, 4), torch.randn(30, 3, 2), lambda s: s.square(),
    ...         path=f"{folder}/page.html")
    ...     page.name
    'page.html'
    """
    try:
        from bptt.report.small import fit
        from bptt.report.template import fill
        from bptt.report.way import way_of_batch
    except ModuleNotFoundError as error:
        what = f"bptt.report needs {error.name}, which is not installed: pip install 'bptt[report]'"
        raise ModuleNotFoundError(what, name=error.name) from error
    from bptt.folder.files import write_atomically
    from bptt.version import __version__

    given = {"state": state, "lengths": lengths, "reset": reset, "reset_state": reset_state}
    way = way_of_batch(model, inputs, loss, names, targets=targets, **given)
    mark, answer = _answer(way.findings)
    content: dict[str, Any] = {
        "name": title or _called(model),
        "subtitle": _subtitle(model, inputs, given),
        "mark": mark,
        "answer": answer,
        "facts_of_batch": _facts(model, inputs, given),
        "version": __version__,
    }

    def render(way: "Way") -> str:
        more = {"way": way, "contents": _contents(way)}
        return fill("batch.html", content | more, way.scripts)

    write_atomically(Path(path), fit(way, render).encode())
    return Path(path)


def _called(model: Any) -> str:
    return getattr(model, "__name__", type(model).__name__)


def _leaves(inputs: Any) -> list[Any]:
    from torch.utils import _pytree as pytree

    return pytree.tree_leaves(inputs)


def _subtitle(model: Any, inputs: Any, given: dict[str, Any]) -> str:
    from bptt.inspect.models import subject

    batch = subject(model, inputs, **given)
    return f"{_called(model)} · {count(batch.batch, 'sequence')} of {count(batch.steps, 'step')}"


def _answer(findings: Sequence["Finding"]) -> tuple["Mark", str]:
    """The colour and the words of the weightiest finding."""
    found = {finding.severity for finding in findings}
    return next((HEADINGS[severity] for severity in HEADINGS if severity in found), THROUGH)


def _contents(way: "Way") -> list[tuple[str, str]]:
    unfolded = [("unfolded", "The network unfolded")] if way.picture else []
    return [("way", "The gradient's way"), *unfolded, ("data", "What was looked at")]


def _facts(model: Any, inputs: Any, given: dict[str, Any]) -> dict[str, Any]:
    parameters = getattr(model, "parameters", list)()
    return {
        "model": str(model),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "inputs": [str(tuple(leaf.shape)) for leaf in _leaves(inputs)],
        "given": [name for name, value in given.items() if value is not None],
    }
