"""Truncated back-propagation through time in Lightning: the stream is the one line.

Documents of unequal length lie end to end in the rows of a batch. Each training step gets the next
window of every row; the state carries on, the gradient goes back 30 steps across windows, and both
are cut where a document begins. Lightning clips, accumulates, saves and resumes as ever: where the
stream stands is in its state_dict.

The task: say at each step whether the symbol is the one of 4 steps ago.

    python examples/lightning_stream.py
"""

import lightning
import torch

import bptt

DELAY, SYMBOLS = 4, 4


def document(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Symbols (T, 4), one of four at each step, and (T,) whether it was there 4 steps ago."""
    symbols = torch.randint(SYMBOLS, (length,))
    same = torch.zeros(length)
    same[DELAY:] = (symbols[DELAY:] == symbols[:-DELAY]).float()
    return torch.nn.functional.one_hot(symbols, SYMBOLS).float(), same


class Listener(lightning.LightningModule):
    """A GRU that hears documents as one endless stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = bptt.Stream(bptt.cells.GRU(SYMBOLS, 48), bptt.Truncated(10, 30))
        self.read = torch.nn.Linear(48, 1)
        self.losses: list[float] = []

    def training_step(self, window: bptt.streams.Window) -> torch.Tensor:
        states = self.stream(window.inputs, reset=window.reset)
        said = self.read(states).squeeze(-1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            said[window.mask], window.targets[window.mask]
        )
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(epochs: int = 20) -> float:
    """The mean loss of the last epoch's windows."""
    lightning.seed_everything(0, verbose=False)
    inputs, targets = zip(*(document(60 + 17 * n % 90) for n in range(60)), strict=True)
    rows = bptt.streams.lay(inputs, targets, batch_size=16, window=25)
    listener = Listener()
    trainer = lightning.Trainer(
        max_epochs=epochs, gradient_clip_val=1.0, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(listener, rows)
    first, last = listener.losses[: len(rows)], listener.losses[-len(rows) :]
    print(f"cross-entropy of the first epoch {sum(first) / len(first):.3f}, ", end="")
    print(f"of the last {sum(last) / len(last):.3f}; always saying how likely: 0.54")
    return sum(last) / len(last)


if __name__ == "__main__":
    main()
