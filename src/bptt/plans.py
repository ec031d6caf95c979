"""Which cells have been compiled: found again by what their steps depend on."""

import warnings
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from bptt.backends.cpu import kernel
from bptt.compiler.compiled import Compiled
from bptt.compiler.fingerprint import Fingerprint, fingerprint
from bptt.compiler.trace import Trace, Untraceable, trace
from bptt.errors import BackendError, BackendWarning
from bptt.garbage import uncollected
from bptt.numerics import plain_numerics
from bptt.replica import Replica
from bptt.step import Arguments, Leaves, Protocol, Step

MOST = 256  # plans that are held; a plan is a few kilobytes of Python


class Entry(NamedTuple):
    """What is known of one step.

    Attributes:
        compiled: the step in columns; None where no kernel can be made of it.
        protocol: how the cell's result is read.
        refusal: why there is no kernel, and what to write instead.
    """

    compiled: Compiled | None
    protocol: Protocol | None
    refusal: str


_ENTRIES: OrderedDict[tuple, Entry] = OrderedDict()
_LOCK = Lock()


def find(step: Step, arguments: Arguments) -> tuple[Entry, Fingerprint]:
    """The plan of a step, made anew if there is none for the cell as it is."""
    made = fingerprint(step.cell)
    inputs, initial, _ = arguments
    grad = torch.is_grad_enabled() and _wants_gradient(*arguments, made.tensors)
    key = (
        made.key,
        step.inputs.layout,
        step.state.layout,
        tuple([(leaf.shape[1:], leaf.dtype, grad and leaf.requires_grad) for leaf in inputs]),
        tuple([(leaf.shape, leaf.dtype) for leaf in initial]),
        grad,
        torch.get_default_dtype(),  # of what the step makes without naming a dtype
    )
    entry = _held(key)
    if entry is None:
        entry = _make(step, inputs, initial, made, grad)
        with _LOCK:
            _ENTRIES[key] = entry
            while len(_ENTRIES) > MOST:
                _ENTRIES.popitem(last=False)
    return entry, made


def _wants_gradient(*parts: Leaves) -> bool:
    for part in parts:
        for tensor in part:
            if tensor.requires_grad:
                return True
    return False


def _held(key: tuple) -> Entry | None:
    """A plan that was used before; where there are many, it is now the last to be let go."""
    entry = _ENTRIES.get(key)
    if entry is not None and len(_ENTRIES) > MOST // 2:
        with _LOCK:
            if key in _ENTRIES:
                _ENTRIES.move_to_end(key)
    return entry


def warn(entry: Entry) -> None:
    """Say once for each reason that the reference backend runs in place of a kernel."""
    if entry.refusal not in _WARNED:
        _WARNED.add(entry.refusal)
        warnings.warn(
            f"{entry.refusal}. The reference backend runs this cell, step by step",
            BackendWarning,
            stacklevel=5,
        )


_WARNED: set[str] = set()


def _make(step: Step, inputs: Leaves, initial: Leaves, made: Fingerprint, grad: bool) -> Entry:
    try:  # not in inference mode, whose tensors do not tell whether they were written into
        with torch.inference_mode(False), plain_numerics("cpu"), uncollected():
            return _compile(step, inputs, initial, made, grad)
    except BackendError as error:
        return Entry(None, None, str(error))


def _compile(step: Step, inputs: Leaves, initial: Leaves, made: Fingerprint, grad: bool) -> Entry:
    if made.opaque is not None:
        raise Untraceable(
            f"the cell holds {made.opaque}, so bptt cannot tell when the cell has changed"
        )
    dtype = _dtype(initial)
    replica = Replica(step.cell)
    fixed = replica.stand_ins(made.tensors)
    bound = Step(replica.cell, step.inputs, step.state)
    batch = initial[0].shape[0]
    x = [_sample(leaf[0], grad and leaf.requires_grad) for leaf in inputs]
    s = [_sample(leaf, grad and leaf.is_floating_point()) for leaf in initial]
    traced = trace(bound, x, s, fixed, grad)
    if batch == 1:
        _check_alone(bound, x, s, traced)
    replica.check_unchanged()
    if replica.touched:
        raise Untraceable(
            "the step changes something in Python besides what it returns (a list, a counter), and "
            "a kernel would not. Carry it in the state"
        )
    return Entry(_ready(traced, batch, dtype), bound.protocol, "")


def _ready(traced: Trace, batch: int, dtype: torch.dtype) -> Compiled:
    """A step with its kernels, so that whatever fails does before the first call runs."""
    try:
        compiled = Compiled(traced, max(batch, 2), dtype)
        _check_sequences(compiled, batch)
        for direction in compiled.directions():
            if direction.loop.stages:
                direction.made["cpu"] = kernel.make(direction.loop, dtype)
    except BackendError:
        raise
    except Exception as error:  # of ours, whatever it is: the reference backend runs the cell
        raise Untraceable(
            f"bptt's compiler fails on this step ({type(error).__name__}: {error}). This is an "
            "error of bptt's: please report the cell"
        ) from error
    return compiled


def _check_sequences(compiled: Compiled, batch: int) -> None:
    if batch == 1 and compiled.has_sequences:
        raise Untraceable("the step makes tensors for a batch of two out of weights alone")


def _check_alone(step: Step, x: Leaves, state: Leaves, traced: Trace) -> None:
    """A batch of one, which is traced as two rows, does what each of the two does."""
    if traced.draws.used:
        return
    with torch.no_grad():
        outputs, after = step([leaf[:1] for leaf in x], [leaf[:1] for leaf in state])
    names = (*traced.outputs, *traced.state)
    for own, name in zip((*outputs, *after), names, strict=True):
        row = traced.tensors[name].detach()[:1]
        if row.shape != own.shape or not torch.allclose(row, own, 1e-3, 1e-5, equal_nan=True):
            raise Untraceable("the step does something else for a batch of one than for two")


def _dtype(initial: Leaves) -> torch.dtype:
    floating = {leaf.dtype for leaf in initial if leaf.is_floating_point()}
    if len(floating) != 1 or not floating <= {torch.float32, torch.float64}:
        shown = ", ".join(sorted(str(leaf.dtype).removeprefix("torch.") for leaf in initial))
        raise Untraceable(
            f"kernels compute in float32 or float64, one of them throughout; the state is {shown}"
        )
    return floating.pop()


def _sample(leaf: Tensor, grad: bool) -> Tensor:
    """Rows to trace with: never one alone, which could not be told from an axis of one."""
    leaf = leaf.detach()
    rows = torch.cat([leaf, leaf]) if leaf.shape[0] == 1 else leaf.clone()
    return rows.contiguous().requires_grad_(grad)
