"""What the user sees while a network is trained: a line for each epoch and, below, a bar."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bptt.figures import figure
from bptt.tasks import Evaluation
from bptt.train.state import State

HEADS = ("epoch", "train loss", "validation", "{headline}", "gradient", "clipped", "rate", "time")
WIDTHS = (5, 10, 11, 9, 8, 7, 7, 7)  # with a headline of up to 18 letters 80 columns in all


class Screen:
    """Tells the user how training goes.

    Args:
        console: where; a quiet one in all processes but the first. The bar is for terminals only;
            in a file or a pipe there is a line for each epoch.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
            refresh_per_second=5,
        )
        self._bar = self._progress.add_task("", total=None, figures="")
        self._widths = list(WIDTHS)

    def start(self, state: State, per_epoch: int, headline: str) -> None:
        """Training begins, or goes on from `state`."""
        heads = [head.format(headline=headline.replace("_", " ")) for head in HEADS]
        self._widths = [max(len(head), w) for head, w in zip(heads, WIDTHS, strict=True)]
        self._print_row(heads, "dim")
        self._progress.update(self._bar, total=per_epoch)
        self._progress.start()

    def show_untrained(self, loss: float, evaluation: Evaluation) -> None:
        """The validation part before the first step: where training starts from."""
        headline = figure(evaluation.metrics[evaluation.headline])
        self._print_row(["0", "", figure(loss) + " ", headline, "", "", "", ""], "")

    def show_step(self, state: State, loss: float) -> None:
        """One training step."""
        clipping = state.clipping
        figures = f"loss {figure(loss)}  gradient {figure(clipping.norm)}"
        if state.best.epoch >= 0:
            figures = f"best {figure(state.best.loss)}  {figures}"
        if clipping.limit:
            figures += f"  {clipping.share:.0%} clipped"
        self._progress.update(
            self._bar,
            completed=state.position.step,
            description=f"epoch {state.position.epoch + 1}",
            figures=figures,
        )

    def show_epoch(self, state: State, loss: float, evaluation: Evaluation, rate: float) -> None:
        """One look at the validation part; `*` marks the lowest validation loss so far."""
        sums = state.sums
        steps = max(1, sums.steps)
        better = loss < state.best.loss
        cells = [
            str(state.position.epoch + 1),
            figure(sums.loss / steps),
            figure(loss) + ("*" if better else " "),
            figure(evaluation.metrics[evaluation.headline]),
            figure(sums.norm / steps),
            f"{sums.clipped / steps:.0%}" if state.clipping.limit else "off",
            figure(rate),
            str(timedelta(seconds=round(state.position.seconds))),
        ]
        self._print_row(cells, "bold" if better else "")

    def stopping(self) -> None:
        """Ctrl-C was heard."""
        self.console.print(
            "[yellow]Stopping after this step, and saving. Ctrl-C again stops at once.[/yellow]"
        )

    def stop(self) -> None:
        """Training is over; the bar goes."""
        self._progress.stop()

    def _print_row(self, cells: list[str], style: str) -> None:
        line = " ".join(cell.rjust(width) for cell, width in zip(cells, self._widths, strict=True))
        self.console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
