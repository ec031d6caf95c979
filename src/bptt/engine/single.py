"""One step alone: what comes before it ends at its arguments, so its graph is all there is."""

import types
from typing import Any

from torch import nn

from bptt.backends import reference
from bptt.backends.reference import Problem, Trajectory
from bptt.draws import settled
from bptt.engine.segmented import is_one_of
from bptt.replica import Attributes, check_in_place
from bptt.step import Arguments, Leaves, check_leaves, check_untouched, version

STEPS = 1  # as many as need no recursion
# Whether cells of a kind drew when one was last run: a hint, for `settled` makes sure.
_DREW: dict[Any, bool] = {}
MOST = 1024


def run(problem: Problem, arguments: Arguments) -> tuple[Leaves, Leaves]:
    """Outputs and final state of a sequence of one step, in the caller's own graph.

    The chain rule over one step is that step's vector-Jacobian product: autograd's, on the cell as
    it is, without a copy that stands in for it.
    """
    modules = _modules(problem.step.cell)
    attributes = Attributes(modules)
    buffers = [b for module in modules for b in module._buffers.values() if b is not None]
    written = [version(buffer) for buffer in buffers]
    tensors = arguments.inputs + arguments.initial
    versions = [version(leaf) for leaf in tensors]
    kind = _kind(problem.step.cell)
    draws = problem.draws
    draws.used = draws.sparing = _DREW.get(kind, False)

    def forward() -> Trajectory:
        return reference.forward(problem, *arguments, keep_states=False)

    found = settled(draws, arguments.initial[0].device, forward, forward)
    if len(_DREW) > MOST:
        _DREW.clear()
    _DREW[kind] = draws.drew
    check_leaves([], found.final, arguments.initial, problem.schedule.batch)
    check_untouched(tensors, versions)
    check_in_place(buffers, written)
    attributes.check()
    final = [leaf.clone() if is_one_of(leaf, tensors) else leaf for leaf in found.final]
    return found.outputs, final


def _modules(cell: Any) -> list[nn.Module]:
    return list(cell.modules()) if isinstance(cell, nn.Module) else []


def _kind(cell: Any) -> Any:
    if isinstance(cell, types.FunctionType):
        return cell.__code__
    return type(cell), getattr(cell, "training", False)
