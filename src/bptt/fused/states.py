"""The states before each step, as values of a step's graph."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptt import starts
from bptt.compiler.compiled import Direction
from bptt.course import Course
from bptt.fused.job import Job, Values
from bptt.fused.loop import Rows


class Begun(NamedTuple):
    """What the steps of a run start from.

    Attributes:
        course: of the steps that follow each other.
        first: by carry, (B, width) what the first of those starts from.
        fresh: by carry, (B, width) what a reset starts from; None where there are no resets.
        alone: by carry, (n * B, width) what n steps before those each start from.
    """

    course: Course
    first: Rows
    fresh: Rows | None
    alone: Rows

    def before(self, name: str, after: Tensor) -> Tensor:
        """(T * B, ...) the state that each step starts from.

        Args:
            name: the carry.
            after: (T * B, ...) what each step comes to.
        """
        follow = after[len(self.alone[name]) :] if self.alone else after
        shape, kind = (self.course.steps, *self.first[name].shape), after.dtype
        fresh = None if self.fresh is None else self.fresh[name].to(kind)
        first = self.first[name].to(kind)
        found = starts.before(self.course, follow.reshape(shape), first, fresh)
        return self._whole(name, found).view(after.shape)

    def around(self, ring: Sequence[str]) -> list[Tensor]:
        """(T * B, width) carries before each step, each of which is the next one's a step later."""
        first = [self.first[name] for name in ring]
        fresh = None if self.fresh is None else [self.fresh[name] for name in ring]
        found = starts.around(self.course, first, fresh)
        return [self._whole(name, leaf) for name, leaf in zip(ring, found, strict=True)]

    def _whole(self, name: str, found: Tensor) -> Tensor:
        flat = found.flatten(0, 1)
        return torch.cat([self.alone[name].to(flat.dtype), flat]) if self.alone else flat


def add(
    job: Job, direction: Direction, values: Values, begun: Begun, known: dict[int, Tensor]
) -> None:
    """Add the states before each step to the values of the graph.

    Args:
        job: what was run.
        direction: forward.
        values: what has been computed, by node.
        begun: what steps start from.
        known: (T * B, ...) by leaf, those that are at hand.
    """
    names, state = direction.names.carried, job.compiled.step.state
    nodes = {slot.index: slot.node for slot in job.compiled.states}
    passed = _passed(nodes, state)
    for leaf in nodes:
        chain = _chain(leaf, passed)
        if chain[-1] in passed and nodes[chain[-1]] not in values:
            ring = _chain(chain[-1], passed)
            found = begun.around([names[number] for number in ring])
            for number, value in zip(ring, found, strict=True):
                values[nodes[number]] = _shaped(job, nodes[number], value)
        for number in reversed(chain):
            node, after = nodes[number], values.get(state[number])
            if number in known:
                values[node] = _shaped(job, node, known[number])
            elif node not in values and after is not None:
                made = begun.before(names[number], after)
                values[node] = made if number in passed else _sound(job, direction, number, made)


def _passed(nodes: dict[int, int], state: Sequence[int]) -> dict[int, int]:
    """The leaves that a step passes on as they are, by the leaf that they become."""
    leaves = {node: leaf for leaf, node in nodes.items()}
    return {leaf: leaves[state[leaf]] for leaf in nodes if state[leaf] in leaves}


def _chain(leaf: int, passed: dict[int, int]) -> list[int]:
    """A leaf, the leaf that it was a step ago, and so on, none of them twice."""
    chain = [leaf]
    while chain[-1] in passed and passed[chain[-1]] not in chain:
        chain.append(passed[chain[-1]])
    return chain


def _shaped(job: Job, node: int, value: Tensor) -> Tensor:
    """(T * B, width) as a value of the graph."""
    known = job.compiled.step.graph[node]
    value = value.reshape(-1, *known.shape)
    return value != 0 if known.mask else value


def _sound(job: Job, direction: Direction, leaf: int, before: Tensor) -> Tensor:
    """Without what lies in the padding, where a state is made of inputs alone."""
    dead = job.course.dead
    if dead is None or job.compiled.step.state[leaf] in direction.names.kept.values():
        return before
    return before.index_fill_(0, dead, 0)
