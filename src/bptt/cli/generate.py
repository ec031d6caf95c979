"""`bptt generate`."""

import shlex
from pathlib import Path

from bptt.errors import ArgumentError, RunError


def generate(
    run: Path, /, *, prompt: str, length: int = 400, temperature: float = 0.8, seed: int = 0
) -> None:
    """Let a network trained on a text write.

    Parameters
    ----------
    run
        Folder of a network trained on a text.
    prompt
        What the network goes on from.
    length
        Characters to write.
    temperature
        0: always the likeliest character; 1: as the network's probabilities say.
    seed
        Decides what is drawn.
    """
    from bptt.cli.trained import load_trained
    from bptt.tasks.text import Text

    if length < 0 or not 0 <= temperature < float("inf"):
        raise ArgumentError(
            f"expected a length and a temperature of 0 or more; got {length} and {temperature}"
        )
    trained = load_trained(run)
    if not isinstance(trained.task, Text):
        raise RunError(
            f"expected a run trained on a text; {run} was trained to {trained.task.name}: "
            f"bptt predict {shlex.quote(str(run))} DATA"
        )
    print(prompt + trained.task.generate(trained.forward, prompt, length, temperature, seed))
