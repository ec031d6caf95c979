"""Text: the next character, from all that came before it."""

from bptt.tasks.task import Forward, Task


class Text(Task):
    """Predict each next character; the state goes on from window to window."""

    name = "text"
    carries_state = True

    def generate(
        self, forward: Forward, prompt: str, length: int, temperature: float = 1.0, seed: int = 0
    ) -> str:
        """`length` characters that the network writes after `prompt` (which is not repeated).

        Temperature 0 takes the likeliest character; 1 samples from the network's distribution.
        """
        raise NotImplementedError
