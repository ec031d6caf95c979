"""A sequence gone through in segments: forward once, backward in the order of few states."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bptt.course import Course, Steps, Window
from bptt.methods import binomial
from bptt.methods.binomial import Advance
from bptt.methods.checkpointed import Layout
from bptt.step import Leaves


def segment_of(course: Course, layout: Layout, segment: int) -> Window:
    """The steps of a segment."""
    begin, last = segment * layout.length, segment == layout.count - 1
    return Window(course, begin, layout.steps if last else begin + layout.length)


def go_out(
    layout: Layout,
    course: Course,
    state: Leaves,
    run: Callable[[int, Leaves], tuple[Steps, Leaves, Leaves]],
) -> tuple[Leaves, Leaves, Leaves]:
    """Outputs (T, B, ...), the final state, and (n, B, ...) per leaf the states that are held.

    Args:
        layout: the segments.
        course: of all steps.
        state: what the first begins with.
        run: a segment from a state: its steps, its outputs, the state after it.
    """
    holds = {0, *binomial.way_out(layout.count, layout.slots)}
    held, place = _room(state, len(holds)), 0
    outputs: Leaves = []
    for segment in range(layout.count):
        if segment in holds:
            _put(held, place, state)
            place += 1
        window, found, state = run(segment, state)
        outputs = outputs or [_whole(course, leaf) for leaf in found]
        for leaf, steps in zip(outputs, found, strict=True):
            window.put(leaf, steps)
    return outputs, state, held


def _room(state: Leaves, count: int) -> Leaves:
    """Memory for so many states, at once: small pieces taken in between large ones would keep the
    allocator from giving the large ones' place to the next segment's.
    """
    return [leaf.new_empty(count, *leaf.shape) for leaf in state]


def _put(room: Leaves, place: int, state: Leaves) -> None:
    for rows, leaf in zip(room, state, strict=True):
        rows[place].copy_(leaf)


def _at(room: Leaves, place: int) -> Leaves:
    return [rows[place] for rows in room]


def _whole(course: Course, leaf: Tensor) -> Tensor:
    """(T, B, ...) for the steps of a leaf; zero where a sequence has ended."""
    make = torch.empty if course.lengths is None else torch.zeros
    return make(course.steps, *leaf.shape[1:], dtype=leaf.dtype, device=leaf.device)


def go_back(
    layout: Layout,
    held: Leaves,
    advance: Callable[[int, Leaves], Leaves],
    visit: Callable[[int, Leaves], None],
) -> None:
    """Every segment from the last to the first, each from the state that it begins with.

    Args:
        layout: the segments.
        held: (n, B, ...) per leaf, states from the way forward.
        advance: the state after a segment, from that before it.
        visit: go back through a segment.
    """
    stack = [(held, place) for place in range(len(held[0]))]
    state, room = _at(*stack[-1]), list[Tensor]()
    for move in binomial.way_back(layout.count, layout.slots):
        if isinstance(move, Advance):
            state = _at(*stack[-1])
            for segment in range(move.begin, move.end):
                state = advance(segment, state)
            if move.hold:
                room = room or _room(state, layout.slots + 1)
                _put(room, len(stack), state)
                stack.append((room, len(stack)))
        else:
            visit(move.segment, _at(*stack.pop()) if move.release else state)


def put_all(
    window: Steps,
    wholes: list[Tensor | None],
    parts: Sequence[Tensor | None],
    like: Leaves,
    wanted: Sequence[bool],
    shared: bool = False,
) -> None:
    """Write the steps of a window into whole sequences, made where they are first needed.

    `shared`: other windows have some of these steps too, and what is there is added to.
    """
    for index, (part, leaf) in enumerate(zip(parts, like, strict=True)):
        if part is not None and wanted[index]:
            whole = wholes[index]
            if whole is None:
                whole = wholes[index] = torch.zeros_like(leaf, dtype=part.dtype)
            if shared:
                window.take(whole).add_(part)
            else:
                window.put(whole, part)
