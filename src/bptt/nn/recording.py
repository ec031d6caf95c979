"""A cell that also gives its states away."""

from typing import Any

from bptt.around import Around, with_output


class Recording(Around):
    """A cell whose output is `(y_t, s_t)`, so that an unroll returns the states of all steps."""

    def forward(self, x: Any, state: Any) -> Any:
        output, after = with_output(self.cell(x, state), state)
        return (output, after), after
