"""`bptt.Stream`, window by window, beside one `unroll` of all steps by the same method."""

import bptt
from back import clock, exact, truncated
from back.clock import Result, Spent, Watch
from back.truncated import Case
from race.jobs import Shape

CELLS = ("tanh RNN", "GRU", "LSTM")
SHAPES = [Shape(10_000, 1, 8, 64), Shape(10_000, 16, 8, 64)]
WINDOW, K = 1_000, 50


def streamed(case: Case, window: int, k: int) -> Spent:
    """Forward and backward of one window after another."""
    watch = Watch()
    stream = bptt.Stream(case.cell, bptt.Truncated(k, k))
    state = case.state
    for inputs, adjoint in zip(case.inputs.split(window), case.adjoint.split(window), strict=True):
        outputs = stream(inputs, state)
        with watch.backward():
            outputs.backward(adjoint)
        state = None  # from here on the stream's own
    return watch.spent()


def measure(name: str, shape: Shape, window: int, k: int, budget: float) -> Result:
    """One cell at one shape: agreement, then times.

    Raises:
        AssertionError: the gradients differ.
    """
    case, method = truncated.case(name, shape), bptt.Truncated(k, k)
    streamed(case, window, k)
    found = case.gradients()
    truncated.ours(case, method)
    error = exact.agree(f"Stream, {name} at {shape}", found, case.gradients())
    ways = {
        "stream": lambda: streamed(case, window, k),
        "unroll": lambda: truncated.ours(case, method),
    }
    times = clock.in_turn(ways, budget)
    return {"cell": name, "shape": shape, "window": window, "k": k, "error": error, "times": times}
