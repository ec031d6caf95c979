"""The way back of an ordinary unroll, written out."""

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bptt.compiler.compiled import Direction
from bptt.fused import sums
from bptt.fused.alone import Alone
from bptt.fused.job import Job
from bptt.fused.lines import Lines, carry
from bptt.fused.loop import Fixed
from bptt.fused.memories import listed


def values(lines: Lines, kept: dict[int, str]) -> Callable[..., dict[int, Tensor]]:
    """`values(job, tensors, kept)`: all that there is for the way back, as (rows, ...), by node."""
    _unpack(lines, kept)
    nodes = [*(slot.node for slot in lines.compiled.inputs), *kept]
    pairs = ", ".join(f"{node}: {lines.memories.view(node)}" for node in nodes)
    lines.write(f"return {{{pairs}}}")
    return lines.function("job, tensors, kept")


def _unpack(lines: Lines, kept: dict[int, str]) -> None:
    lines.begin()
    names = list(dict.fromkeys(kept.values()))
    if names:
        lines.write(f"({listed(names)}) = kept")
    lines.write(*(f"{name} = {name}.contiguous()" for name in names))


def write(
    lines: Lines, kept: dict[int, str], apart: Alone | None = None
) -> Callable[..., list[Tensor | None]]:
    """`back(job, tensors, kept, adjoints, wanted) -> gradients`, all steps at once.

    Args:
        lines: nothing so far.
        kept: the memory of each value that there is, by node.
        apart: runs that go back side by side; None: every loss goes to the first step.
    """
    direction, columns, names = lines.direction, lines.direction.columns, lines.direction.names
    outputs = [f"dy{i}" for i in range(len(lines.compiled.step.outputs))]
    _unpack(lines, kept)
    lines.write(f"({listed((*outputs, *(f'd{name}' for name in lines.state)))}) = adjoints")
    taken = {lines.memories.name(n) for n in (*names.step.values(), *_given(direction))}
    lines.write(*(f"{name} = {name}.contiguous()" for name in outputs if name in taken))
    lines.fixed((columns.before, direction.before), (columns.after, direction.rest))
    if direction.prepares:
        lines.column("before", columns.before, direction.before)
    lines.clear(lines.new())
    count = "batch" if apart is None else str(_count(apart))
    begun = _seeds(lines) if apart is None else _begun(lines, apart)
    order = None if apart is None else apart.rows
    lines.kernel({**begun, **_totals(lines, count)}, order)
    _rest(lines, count)
    end = "e{leaf} + a{leaf}" if lines.marks_firsts else "e{leaf}"
    found = listed(_gradients(lines, end if apart is None else "arrived(e{leaf}, s{leaf})"))
    lines.write(f"return [{found}]")
    return lines.function("job, tensors, kept, adjoints, wanted")


def _given(direction: Direction) -> tuple[int, ...]:
    """What torch's columns take."""
    given = (*direction.before.given, *direction.rest.given)
    return tuple(n for n in given if n not in _summed(direction))


def _summed(direction: Direction) -> dict[int, str]:
    """Sums over all rows that the loop adds up."""
    names = direction.names
    return {node: name for name, node in (*names.totals.items(), *names.outers.items())}


def _seeds(lines: Lines) -> dict[str, str]:
    """dE/d(final state), zeros where nothing was used, of what the loop carries."""
    direction, others = lines.direction, dict[str, str]()
    carried = {memory.name for memory in direction.loop.memories}
    for leaf, (name, own) in enumerate(zip(lines.state, direction.names.carried, strict=True)):
        if own in carried:
            lines.write(
                f"d{name} = zeros_like({name}) if d{name} is None else d{name}.contiguous()",
                f"e{leaf} = empty_like({name})",
            )
            afresh = lines.resets or lines.marks_firsts
            anew = {"fresh": f"a{leaf}.data_ptr()"} if afresh else {}
            lines.write(*(f"a{leaf} = zeros_like({name})" for _ in anew))
            others |= carry(own, f"d{name}.data_ptr()", f"e{leaf}.data_ptr()", **anew)
    return others


def _begun(lines: Lines, apart: Alone) -> dict[str, str]:
    """What runs begin with but for their losses: dE/d(final state), or nothing."""
    others = dict[str, str]()
    lines.namespace["arrived"] = functools.partial(_arrived, apart)
    lines.namespace["final"] = functools.partial(_final, apart)
    widths = {m.name: m.width for m in lines.direction.loop.memories if m.kind == "carry"}
    for leaf, (name, own) in enumerate(
        zip(lines.state, lines.direction.names.carried, strict=True)
    ):
        if own in widths:
            nothing = torch.zeros(_count(apart), widths[own], dtype=lines.compiled.dtype)
            lines.namespace[f"z{leaf}"] = nothing
            lines.write(f"g{leaf} = final(z{leaf}, d{name})", f"e{leaf} = empty_like(z{leaf})")
            others |= carry(own, f"g{leaf}.data_ptr()", f"e{leaf}.data_ptr()")
    return others


def _final(apart: Alone, nothing: Tensor, seed: Tensor | None) -> Tensor:
    """What runs begin with: some with the final state's adjoint."""
    runs, sequences = apart.final
    if seed is None or not len(runs):
        return nothing
    return nothing.index_copy(0, runs, seed.reshape(len(seed), -1).index_select(0, sequences))


def _count(apart: Alone) -> int:
    """How many runs go back."""
    assert apart.rows.sequence is not None
    return len(apart.rows.sequence)


def _arrived(apart: Alone, end: Tensor, state: Tensor) -> Tensor:
    """What runs have left at the initial state."""
    total = end.new_zeros(len(state), end.shape[1])
    total.index_add_(0, apart.owners, end.index_select(0, apart.reached))
    return total.view(state.shape)


def _totals(lines: Lines, count: str) -> dict[str, str]:
    """Sums that the loop adds up for each sequence, or run."""
    others = dict[str, str]()
    for name, node in lines.direction.names.totals.items():
        shape = listed(lines.graph[node].shape)
        alone = f"empty({shape}dtype=dtype) if {count} == 1 else "  # nothing is left to be added
        lines.write(f"{name} = {alone}empty({count}, {shape}dtype=dtype)")
        others[f"{name}.end"] = f"{name}.data_ptr()"
    return others


def _rest(lines: Lines, count: str) -> None:
    """What comes after the loop."""
    direction, names, added = lines.direction, lines.direction.names, _summed(lines.direction)
    if names.outers:
        lines.write(f"({listed(names.outers)}) = sums")
    totals = [name for node, name in added.items() if node in names.totals.values()]
    lines.write(*(f"{name} = {name} if {count} == 1 else total({name}, steps)" for name in totals))
    given = [(n, added[n] if n in added else lines.memories.view(n)) for n in direction.rest.given]
    if lines.lengths and not direction.is_summed:
        _rest_that_counts(lines, given)
        return
    lines.namespace["rest"] = direction.rest.run
    found = listed(f"r{node}" for node in direction.columns.after)
    lines.write(f"({found}) = rest([{listed(own for _, own in given)}], fixed, steps, rows)")


def _rest_that_counts(lines: Lines, given: Sequence[tuple[int, str]]) -> None:
    """The same where the padding may hold anything."""
    lines.namespace["after"] = functools.partial(_after, lines.direction)
    values = ", ".join(f"{node}: {own}" for node, own in given)
    found = listed(f"r{node}" for node in lines.direction.columns.after)
    lines.write(f"({found}) = after(job, {{{values}}}, fixed)")


def _after(direction: Direction, job: Job, values: dict[int, Tensor], fixed: Fixed) -> list[Tensor]:
    found = sums.after(job, direction, direction.rest, values, fixed)
    return [found[node] for node in direction.columns.after]


def _gradients(lines: Lines, end: str) -> Iterator[str]:
    """Of inputs, the initial state (`end` of each leaf), what resets start from and the cell's
    tensors, in this order.
    """
    step, direction = lines.compiled.step, lines.direction
    for i, (name, node) in enumerate(zip(lines.inputs, step.d_inputs, strict=True)):
        yield "None" if node is None else f"r{node}.view({name}.shape) if wanted[{i}] else None"
    carried, number = {memory.name for memory in direction.loop.memories}, len(lines.inputs)
    for leaves, found in ((lines.state, end), (lines.fresh, "a{leaf}")):
        for leaf, own in enumerate(direction.names.carried[: len(leaves)]):
            given = f"{found.format(leaf=leaf)} if wanted[{number}] else None"
            yield given if own in carried else "None"
            number += 1
    yield from _own(lines, number)


def _own(lines: Lines, first: int) -> Iterator[str]:
    """Of the cell's tensors, the first of which is the call's tensor number `first`."""
    step = lines.compiled.step
    pairs = zip(step.frontier, step.d_fixed, strict=True)
    reached = {str(name): f"r{node}" for name, node in pairs if node is not None}
    if reached.keys() <= set(lines.own):
        for i, name in enumerate(lines.own, first):
            yield f"{reached[name]} if wanted[{i}] else None" if name in reached else "None"
        return
    lines.namespace["pull"] = lines.compiled.weights.pull
    given = ", ".join(f"{name!r}: {node}" for name, node in reached.items())
    lines.write(
        f"own = wanted[{first}:]",
        f"pulled = pull(({listed(lines.own)}), own, {{{given}}})",
    )
    yield "*[g if want else None for g, want in zip(pulled, own)]"
