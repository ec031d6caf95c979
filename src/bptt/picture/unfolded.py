"""The unfolded network with the gradient on its lines: `bptt.picture.draw`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bptt.errors import ArgumentError
from bptt.inspect.credit import Credit, credit
from bptt.inspect.subject import Lengths
from bptt.picture.flow import Flow, measure
from bptt.picture.grid import Grid
from bptt.picture.place import Layout, arrange
from bptt.picture.processed import Backwards
from bptt.picture.sketch import Sketch, sketch
from bptt.picture.spread import spread

ROOM = 1060  # pixels for the steps of a drawing, if not told otherwise
MOST_TIMES = 256  # loss times that a slider leads through
FEWEST, MOST = 2, 8  # steps drawn


@dataclass(frozen=True, eq=False)
class Unfolded:
    """A network unfolded in time, with what an error's gradient sends along each line.

    Steps have the numbers of `bptt.inspect.credit`, from 0; drawings count from `first`.

    Attributes:
        sketch, layout: what is drawn of a step, and where.
        credit: of the loss times (n,).
        flow: what travels on the lines drawn.
        chosen: which of the loss times is shown.
        window: w, the steps drawn.
        names: what each step is called.
        first: the number that the first step has in the drawing.
        losses: how many loss times there are to choose among; the credit may have fewer.
    """

    sketch: Sketch
    layout: Layout
    credit: Credit
    flow: Flow
    chosen: int
    window: int
    names: tuple[str, ...]
    first: int
    losses: int

    @property
    def at(self) -> int:
        """The loss time that is shown."""
        return int(self.credit.times[self.chosen])

    def start(self, row: int) -> int:
        """The first step that is drawn for a loss time, by its row."""
        t, steps = int(self.credit.times[row]), len(self.credit.steps)
        return max(0, min(t - self.window + 1, steps - self.window))

    def size(self) -> tuple[float, float]:
        """Width and height of the drawing in pixels."""
        return Grid(self.sketch, self.layout).size(self.window)

    def svg(self) -> str:
        """The drawing as an SVG file."""
        from bptt.picture.svg import drawing

        return drawing(self)

    def folded(self) -> str:
        """One step of the network, its state led back to it, as an SVG file."""
        from bptt.picture.svg import folded

        return folded(self)

    def text(self, width: int = 80) -> str:
        """The drawing as lines of text."""
        from bptt.picture.text import lines

        return "\n".join(lines(self, width))

    def html(self) -> str:
        """A page with the drawing and a slider for the loss time; it needs nothing else."""
        from bptt.picture.page import page

        return page(self)

    def fragment(self, room: int = 400_000) -> str:
        """What `html` has in its body, with its style and script, for another page.

        Args:
            room: bytes that the numbers of the loss times may take; the figure says what is left
                out for it.
        """
        from bptt.picture.page import fragment

        return fragment(self, room)

    def _repr_html_(self) -> str:
        from bptt.picture.page import framed

        return framed(self)

    def __repr__(self) -> str:
        return self.text()


def draw(
    model: Any,
    inputs: Any,
    loss: Callable[..., Tensor] | None = None,
    *,
    targets: Any = None,
    at: int = -1,
    times: Sequence[int] | None = None,
    state: Any = None,
    lengths: Lengths = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
    backend: str = "auto",
    names: Sequence[str] | None = None,
    window: int | None = None,
    first: int = 1,
) -> Unfolded:
    """Draw a network unfolded in time, the gradient of one error on its lines.

    Args:
        model, inputs, loss, targets: as for `bptt.inspect.credit`; of a model of your own its
            recurrent part is drawn.
        at: the loss time shown at first, from 0; negative ones count from the end.
        times: the loss times that the slider leads through; None: all. Of more than 256 as many
            are taken, evenly spread, `at` among them.
        state, lengths, reset, reset_state, backend: as for `bptt.unroll`.
        reverse: as for `bptt.unroll`. Steps are then counted as they are processed, a sequence's
            own last one first; `at`, `times` and the drawing count so, `names` are in the data's
            order and default to the data's numbers.
        names: what each of the T steps is called; None: nothing beyond its number.
        window: steps drawn side by side; what lies before them is told as a sum. None: as many as
            have room.
        first: the number of the first step in the drawing; the lecture has 1, with s_0 before it.

    Raises:
        ArgumentError: a time beyond the sequence, or what `credit` refuses.

    >>> import torch, bptt
    >>> cell = bptt.cells.Elman(2, 3)
    >>> picture = draw(cell, torch.randn(5, 1, 2), lambda s: s.square())
    >>> picture.at, picture.window, picture.svg().startswith("<svg")
    (4, 5, True)
    """
    steps = _steps(model, inputs)
    at = _within(at, steps)
    if names is not None and len(names) != steps:
        raise ArgumentError(f"names: expected one for each of {steps} steps, got {len(names)}")
    if reverse:
        back = Backwards(steps, lengths)
        names = (names or _numbers(steps, lengths, first))[::-1]
        inputs, targets, reset = map(back.turned, (inputs, targets, reset))
        loss = back.loss(loss)
    wanted = range(steps) if times is None else times
    among = sorted({at, *(_within(t, steps) for t in wanted)})
    found = credit(
        model, inputs, loss, targets=targets, times=spread(among, MOST_TIMES, at), state=state,
        lengths=lengths, reset=reset, reset_state=reset_state, backend=backend,
    )  # fmt: skip
    ran = found.run.subject
    given = (ran.inputs, ran.state, ran.lengths, ran.reset, ran.reset_state, False)
    drawn = sketch(ran.cell, given, _has_output(found), ran.names() or None)
    layout = arrange(drawn)
    window = _window(window, Grid(drawn, layout).step, steps)
    return Unfolded(
        sketch=drawn,
        layout=layout,
        credit=found,
        flow=measure(found.run.passage, drawn, found.times.tolist(), window),
        chosen=int(np.searchsorted(found.times, at)),
        window=window,
        names=tuple(names or [""] * steps),
        first=first,
        losses=len(among),
    )


def _steps(model: Any, inputs: Any) -> int:
    """T, if the inputs tell it; what is wrong with them `credit` says better."""
    from torch.utils import _pytree as pytree

    leaf = pytree.tree_leaves(inputs)[0]
    axis = 1 if getattr(model, "batch_first", False) else 0
    return leaf.shape[axis] if isinstance(leaf, Tensor) and leaf.dim() > axis else 1


def _within(at: int, steps: int) -> int:
    if isinstance(at, bool) or not isinstance(at, int) or not -steps <= at < steps:
        raise ArgumentError(
            f"at: expected a step of the sequence, a whole number from {-steps} to {steps - 1}, "
            f"got {at!r}"
        )
    return at % steps


def _has_output(found: Credit) -> bool:
    """Whether the cell returns an output besides its state."""
    protocol = found.run.passage.step.protocol
    return protocol is not None and not protocol.bare


def _numbers(steps: int, lengths: Lengths, first: int) -> list[str]:
    """What the data's steps are called beside those that count as processed."""
    if lengths is not None and any(int(n) != steps for n in lengths):
        return [""] * steps  # each sequence has another step there
    return [f"step {k} of the data" for k in range(first, first + steps)]


def _window(window: int | None, pitch: float, steps: int) -> int:
    if window is None:
        window = max(FEWEST, min(MOST, int(ROOM / pitch)))
    elif window < 1:
        raise ArgumentError(f"window: expected 1 step or more, got {window}")
    return min(window, steps)
