"""An unroll by kernels in autograd's graph."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptt import check
from bptt.compiler.compiled import Direction
from bptt.errors import NOT_TWICE, BackendError
from bptt.fused import backward, checkpointed, forward, windows, written
from bptt.fused.job import Given, Job, Values
from bptt.fused.written import Written
from bptt.methods import Checkpointed
from bptt.step import Leaves


def run(job: Job, tensors: Sequence[Tensor]) -> tuple[Leaves, Leaves]:
    """Outputs (T, B, ...) and the final state (B, ...), in autograd's graph."""
    compiled = job.compiled
    differentiable = compiled.differentiable and torch.is_grad_enabled()
    direction = compiled.forward if differentiable else compiled.plain
    way = written.written(job, tensors, direction)
    if differentiable and way is not None:
        results = list(_Written.apply(job, way, *tensors))
    elif differentiable:
        function = _Segmented if isinstance(job.method, Checkpointed) else _Fused
        results = list(function.apply(job, *tensors))
    else:
        with torch.no_grad():
            if way is not None:
                outputs, final, _ = way.ahead(job, tensors)
            else:
                outputs, final, _ = _forward(job, job.split(tensors), compiled.plain)
        results = [*outputs, *final]
    count = len(results) - job.counts[1]
    return results[:count], results[count:]


def _forward(job: Job, given: Given, direction: Direction) -> tuple[Leaves, Leaves, Values]:
    return forward.run(job, given, direction.once.run(given.own), direction)


class _Written(torch.autograd.Function):
    """Inputs, state and fixed tensors in; outputs and final state out, as is written down."""

    @staticmethod
    def forward(ctx: Any, job: Job, way: Written, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, final, kept = way.ahead(job, tensors)
        ctx.job, ctx.way = job, way
        ctx.save_for_backward(*tensors, *kept)
        return _results(ctx, outputs, final)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        check.not_batched(adjoints)
        job, saved, wanted = ctx.job, ctx.saved_tensors, ctx.needs_input_grad[2:]
        tensors, kept = saved[: len(wanted)], saved[len(wanted) :]
        if torch.is_grad_enabled():
            return None, None, *_again(job, job.split(tensors), adjoints, wanted)
        return None, None, *ctx.way.back(job, tensors, kept, adjoints, wanted)


class _Fused(torch.autograd.Function):
    """Inputs, state, fresh state and fixed tensors in; outputs and final state out."""

    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        given, direction = job.split(tensors), job.compiled.forward
        outputs, final, values = _forward(job, given, direction)
        taken = job.compiled.backward(frozenset()).taken
        nodes = [node for node in taken if node in values]
        ctx.nodes, ctx.job = nodes, job
        ctx.save_for_backward(*tensors, *(values[node] for node in nodes))
        return _results(ctx, outputs, final)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        check.not_batched(adjoints)
        job, saved = ctx.job, ctx.saved_tensors
        given = job.split(saved[: len(saved) - len(ctx.nodes)])
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *_again(job, given, adjoints, wanted)
        values = dict(zip(ctx.nodes, saved[len(saved) - len(ctx.nodes) :], strict=True))
        direction = backward.direction(job, adjoints)
        fixed = direction.once.run(given.own)
        found = windows.run(job, given, fixed, direction, values, adjoints)
        return None, *backward.gradients(job, given, found, wanted)


class _Segmented(torch.autograd.Function):
    """The same, in segments."""

    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        laid = checkpointed.lay(job)
        outputs, final, held = checkpointed.run(laid, job.split(tensors), job.compiled.forward)
        ctx.laid = laid
        ctx.save_for_backward(*tensors, *held)
        return _results(ctx, outputs, final)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        check.not_batched(adjoints)
        laid, saved, wanted = ctx.laid, ctx.saved_tensors, ctx.needs_input_grad[1:]
        job, count = laid.job, len(wanted)
        given, held = job.split(saved[:count]), list(saved[count:])
        if torch.is_grad_enabled():
            return None, *_again(job, given, adjoints, wanted)
        found = checkpointed.adjoint(laid, given, held, adjoints, wanted)
        return None, *backward.gradients(job, given, found, wanted)


def _results(ctx: Any, outputs: Leaves, final: Leaves) -> tuple[Tensor, ...]:
    results = (*outputs, *final)
    ctx.set_materialize_grads(False)
    whole = [result for result in results if not result.is_floating_point()]
    if whole:
        ctx.mark_non_differentiable(*whole)
    return results


def _again(
    job: Job, given: Sequence[Leaves], adjoints: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    if job.stored is not None:
        raise BackendError(NOT_TWICE)
    spans = job.method.spans(job.course.counts)
    return job.again.differentiate(list(given), job.draws, adjoints, wanted, spans)
