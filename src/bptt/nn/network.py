"""The founding lesson's model: a recurrent state and a read-out."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bptt import check
from bptt.cells.parts import check_sizes, uniform
from bptt.errors import ArgumentError, CellError
from bptt.methods import Method
from bptt.nn.checks import check_tensor
from bptt.nn.drop_in import DropIn
from bptt.nn.layers import EXACT
from bptt.nn.recurrent import Recurrent, output_features
from bptt.structure import describe
from bptt.unroll import unroll


class Network(nn.Module):
    """A recurrent state and a read-out of it: `y_t = s_t Wy + by`, or the softmax of that.

        E_t = |d_t - y_t|^2                 linear: the squared error
        E_t = -sum_k d_tk log y_tk          softmax: the cross-entropy
        E = sum_t E_t                       over all t, some, or one alone

    Args:
        cell: what makes the states: a cell, as `bptt.unroll` takes it, or a module of `bptt.nn`
            for layers and directions. Its output is the s_t (B, H) that is read out.
        output_size: K, features of y_t; with a softmax, classes.
        output: "linear" or "softmax".
        bias: whether there is a by; the lesson has none.
        hidden_size: H; found from the cell if None and the cell tells its `input_size`.

    Attributes:
        Wy: (H, K), uniform in +-1/sqrt(H) to begin with. by: (K,) or None.

    Raises:
        ArgumentError: a size below 1, an unknown output, an H that cannot be found.
        CellError: torch.nn's GRU and the like in place of bptt.nn's.

    >>> from bptt.cells import Elman
    >>> network = Network(Elman(2, 4, bias=False), 3, output="softmax")
    >>> scores, state = network(torch.zeros(5, 1, 2))
    >>> network.outputs(scores).shape
    torch.Size([5, 1, 3])
    >>> network.loss(scores, torch.tensor([1]), at=3).backward()  # E_3 alone
    >>> network.cell.Ws.grad.shape
    torch.Size([4, 4])
    """

    def __init__(
        self,
        cell: nn.Module,
        output_size: int,
        *,
        output: Literal["linear", "softmax"] = "linear",
        bias: bool = False,
        hidden_size: int | None = None,
    ) -> None:
        super().__init__()
        hidden_size = _hidden_size(cell) if hidden_size is None else hidden_size
        check_sizes(output_size=output_size, hidden_size=hidden_size)
        if output not in ("linear", "softmax"):
            raise ArgumentError(f"output should be 'linear' or 'softmax', got {output!r}")
        self.cell, self.output = cell, output
        self.batch_first = getattr(cell, "batch_first", False)
        self.Wy = uniform(hidden_size, output_size, hidden_size=hidden_size)
        self.by = uniform(output_size, hidden_size=hidden_size) if bias else None

    def forward(
        self,
        inputs: Any,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        method: Method = EXACT,
    ) -> tuple[Tensor, Any]:
        """Scores `s_t Wy + by` (T, B, K), laid out as the inputs, and the final state.

        Arguments are those of the cell's `bptt.unroll`, or of the module's forward. The scores are
        what a linear network puts out and what a softmax is taken of: `loss` takes them, `outputs`
        makes them y_t.
        """
        given: dict[str, Any] = {"lengths": lengths, "reset": reset, "method": method}
        if isinstance(self.cell, DropIn | Recurrent):
            states, final = self.cell(inputs, state, **given)
        else:
            states, final = unroll(self.cell, inputs, state, **given)
        if not isinstance(states, Tensor):
            raise CellError(
                "a read-out needs the cell's output to be one tensor (T, B, H), got "
                f"{describe(states)}; pad packed inputs and give their lengths"
            )
        scores = states @ self.Wy
        return scores if self.by is None else scores + self.by, final

    def outputs(self, scores: Tensor) -> Tensor:
        """y_t (T, B, K) from the scores: the same, or their softmax."""
        return scores if self.output == "linear" else scores.softmax(-1)

    def loss(
        self,
        scores: Tensor,
        targets: Tensor,
        *,
        at: int | Sequence[int] | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """E, the sum of E_t over the chosen t, in the mean over the batch.

        Args:
            scores: (T, B, K) from forward, (B, T, K) with batch_first.
            targets: d_t. Linear: like the scores. Softmax: classes (T, B), or probabilities like
                the scores. Where `at` is one t the time axis may be left out.
            at: the t that count, from 0; negative ones from a sequence's own end; all if None.
            lengths: (B,) steps that count in each sequence; what lies beyond, NaN too, is ignored.

        Raises:
            ArgumentError: a t beyond the sequences, targets that do not fit the scores.
        """
        chosen = self._chosen(scores, at, lengths)
        wanted = self._targets(scores, targets, at)
        y, d = scores[chosen], wanted[chosen]
        batch_size = scores.shape[0 if self.batch_first else 1]
        if self.output == "softmax":
            _check_classes(d, scores.shape[-1])
            return functional.cross_entropy(y, d, reduction="sum") / batch_size
        return (d - y).square().sum() / batch_size

    def _chosen(self, scores: Tensor, at: Any, lengths: Tensor | None) -> Tensor:
        """Which steps count, laid out as the scores (T, B)."""
        if scores.dim() != 3:
            raise ArgumentError(f"scores should be (T, B, K), got shape {tuple(scores.shape)}")
        steps, batch_size = scores.shape[1::-1] if self.batch_first else scores.shape[:2]
        t = torch.arange(steps, device=scores.device)[:, None]
        ends = check.lengths(lengths, steps, batch_size, scores.device)
        ends = t.new_full((batch_size,), steps) if ends is None else ends
        chosen = t < ends
        if at is not None:
            wanted = _times(at, steps).to(scores.device)
            wanted = torch.where(wanted < 0, ends[:, None] + wanted, wanted)
            chosen = chosen & (t[..., None] == wanted).any(-1)
        return chosen.T if self.batch_first else chosen

    def _targets(self, scores: Tensor, targets: Tensor, at: Any) -> Tensor:
        """Targets with a time axis, checked."""
        check_tensor("targets", targets)
        classes = self.output == "softmax" and not targets.is_floating_point()
        shape = scores.shape[:2] if classes else scores.shape
        if isinstance(at, int) and targets.dim() == len(shape) - 1:
            time_axis = 1 if self.batch_first else 0
            targets = targets.unsqueeze(time_axis).repeat_interleave(shape[time_axis], time_axis)
        if targets.shape != shape:
            raise ArgumentError(
                f"targets should have shape {tuple(shape)} for scores {tuple(scores.shape)} of a "
                f"{self.output} network, got {tuple(targets.shape)} {targets.dtype}"
            )
        return targets

    def extra_repr(self) -> str:
        hidden_size, output_size = self.Wy.shape
        return f"Wy: {hidden_size} to {output_size}, {self.output}"


def _hidden_size(cell: nn.Module) -> int:
    """H, features of what a cell or a module of bptt.nn puts out."""
    if isinstance(cell, DropIn):
        return (cell.proj_size or cell.hidden_size) * (2 if cell.bidirectional else 1)
    check.one_step(cell)
    single = cell.cells[0] if isinstance(cell, Recurrent) else cell
    input_size = getattr(cell, "input_size", None) or getattr(single, "input_size", None)
    if not isinstance(input_size, int):
        raise ArgumentError(
            f"hidden_size should be given: {type(cell).__name__} has no input_size to find it with"
        )
    return output_features(cell, input_size)


def _times(at: int | Sequence[int], steps: int) -> Tensor:
    """`at` as a tensor, every t in [-T, T)."""
    times = torch.as_tensor(at).reshape(-1)
    if times.is_floating_point() or ((times < -steps) | (times >= steps)).any():
        raise ArgumentError(f"at should be whole numbers from {-steps} to {steps - 1}, got {at}")
    return times


def _check_classes(targets: Tensor, count: int) -> None:
    """Raise ArgumentError unless whole-numbered targets are classes, 0 to K - 1."""
    if targets.is_floating_point() or targets.numel() == 0:
        return
    low, high = targets.aminmax()
    if low < 0 or high >= count:
        raise ArgumentError(
            f"targets should be classes from 0 to {count - 1}, got {int(low)} to {int(high)}"
        )
