"""Nothing is timed before its numbers are right: all ways against the reference in float64."""

import copy
import math
from collections.abc import Mapping

from torch import Tensor

from race import ways
from race.jobs import Job
from race.ways import Numbers, Runner

# Largest allowed ||found - exact|| / ||exact|| of a tensor. Programs in float32 that are right stay
# below 2e-6 on the grid; one wrong step or gate gives 1e-2 and more.
ALLOWED = 1e-5


def truth(job: Job) -> Numbers:
    """The job in float64 by the reference backend."""
    module = copy.deepcopy(job.module).double()
    inputs, *state = (leaf.detach().double().requires_grad_() for leaf in (job.inputs, *job.state))
    exact = Job(job.name, job.shape, module, inputs, tuple(state), job.adjoint.double())
    return _trained(ways.ours(exact, "reference"))


def errors(job: Job, runners: Mapping[str, Runner]) -> dict[str, float]:
    """Per way, the worst relative error of its outputs and gradients.

    Raises:
        AssertionError: a way computes something else; says which and where.
    """
    exact = truth(job)
    return {name: _worst(f"{name}, {job}", runner, exact) for name, runner in runners.items()}


def _worst(who: str, runner: Runner, exact: Numbers) -> float:
    alone = runner.outputs(runner.forward())
    found = {"outputs alone": _error(alone, exact["outputs"])}
    if runner.train is not None:
        trained = _trained(runner)
        found |= {name: _error(trained[name], exact[name]) for name in exact}
    where = max(found, key=found.__getitem__)
    if not all(error <= ALLOWED for error in found.values()):  # written so that NaN fails
        raise AssertionError(
            f"{who}: {where} differs from the reference in float64 by {found[where]:.1e}, "
            f"allowed are {ALLOWED:.0e}; nothing is timed"
        )
    return found[where]


def _trained(runner: Runner) -> Numbers:
    if runner.train is None or runner.read is None:
        raise TypeError("a way that knows no gradients cannot train")
    return runner.read(runner.train())


def _error(found: Tensor, exact: Tensor) -> float:
    if found.shape != exact.shape:
        return math.inf
    return float((found - exact).norm() / (exact.norm() or 1.0))
