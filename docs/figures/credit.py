"""The credit map: which step each error is blamed on, by state and by input."""

import altair as alt

import bptt
from figures.drawing import heat
from figures.echo import batch, network


def draw() -> alt.TopLevelMixin:
    x, wanted = batch()
    found = bptt.inspect.credit(network(), x, targets=wanted, parameters=False)
    maps = {"‖dE_t/ds_k‖, the state": found.state, "‖dE_t/dx_k‖, the input": found.inputs}
    return alt.hconcat(*(heat(sizes, title) for title, sizes in maps.items()))
