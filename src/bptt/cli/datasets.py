"""`bptt datasets`."""

from rich.console import Console
from rich.table import Table

from bptt import tasks


def datasets() -> None:
    """List the data sets that come with bptt; `bptt train NAME` trains on one."""
    table = Table(box=None, pad_edge=False)
    for head in ("name", "task", "size", "what it is", "where it is from"):
        table.add_column(head, overflow="fold")
    for dataset in tasks.datasets():
        facts = (dataset.task, dataset.size, dataset.about, dataset.provenance)
        table.add_row(f"[bold]{dataset.name}[/bold]", *facts)
    Console(highlight=False).print(table)
