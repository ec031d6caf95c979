"""`bptt evaluate`."""

from pathlib import Path

from bptt.errors import ArgumentError


def evaluate(run: Path, data: str, /, *, batch_size: int = 256) -> None:
    """Measure a trained network on new data, beside naive rules.

    Parameters
    ----------
    run
        Folder of a trained network.
    data
        A file with the columns of the one it was trained on, the target or label included, or a
        name that `bptt datasets` lists.
    batch_size
        Sequences or windows to read at once.
    """
    from rich.console import Console

    from bptt.cli.outcome import comparison
    from bptt.cli.trained import load_trained
    from bptt.tasks.opening import find_source

    if batch_size < 1:
        raise ArgumentError(f"expected --batch-size to be 1 or more; got {batch_size}")
    trained = load_trained(run)
    path = find_source(data, None).path
    evaluation = trained.task.load(path).evaluate(trained.forward, "test", batch_size)
    Console(highlight=False).print(comparison(evaluation, path.name))
