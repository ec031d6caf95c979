"""One step of a cell, forward and backward, as the list of operations that torch really ran.

The step runs on real rows while a recording writes down every operation, and so does autograd's way
back through it. So whatever torch can differentiate is seen as torch does it: in-place writes,
parametrizations, surrogate gradients by `torch.autograd.Function`. What depends on the data in
Python is found here, with the line that does it.
"""

import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bptt import edges, places
from bptt.compiler.record import DATA_DEPENDENT, UNSEEN, Operation, Ref, view_of
from bptt.draws import Draws
from bptt.errors import BackendError
from bptt.step import (
    Leaves,
    Step,
    check_drawn,
    check_leaves,
    check_untouched,
    other_generators,
    version,
)


class Untraceable(BackendError):
    """A step that no kernel can be made of: the operation, the line and what to write instead."""

    def __init__(self, what: str, line: str = "") -> None:
        super().__init__(f"{line}: {what}" if line else what)


class Trace(NamedTuple):
    """What a step did.

    Attributes:
        operations: in order; those from `forward` on belong to the way back.
        forward: how many operations the step itself has.
        tensors: every tensor by name, as it was.
        lines: for the first result of each operation, the user's file and line.
        outputs, state: names of what the step returned.
        d_outputs, d_state: names of the adjoints that went in; None for leaves without.
        d_inputs, d_before, d_fixed: names of the gradients that came out; None where there is none.
        frontier: names of what is made of weights alone and taken by what is made of rows: d_fixed
            are its gradients, from which torch finds those of the weights.
        untracked: results that were computed under no_grad.
        detached: by an operation's first result, the operands that came without their history.
        draws: shapes, dtypes and recipes of the random numbers, r0 and so on.
    """

    operations: list[Operation]
    forward: int
    tensors: dict[Ref, Tensor]
    lines: dict[Ref, str]
    outputs: list[Ref]
    state: list[Ref]
    d_outputs: list[Ref | None]
    d_state: list[Ref | None]
    d_inputs: list[Ref | None]
    d_before: list[Ref | None]
    d_fixed: list[Ref | None]
    frontier: list[Ref]
    untracked: frozenset[Ref]
    detached: dict[Ref, frozenset[Ref]]
    draws: Draws


def trace(step: Step, inputs: Leaves, state: Leaves, fixed: Leaves, backward: bool) -> Trace:
    """Run a step once and write down what it does.

    Args:
        step: the step, on leaves that are nobody else's.
        inputs: x_t per leaf, (B, ...), contiguous; with requires_grad where a gradient is wanted.
        state: s_{t-1} per leaf, likewise.
        fixed: every tensor that the step reaches otherwise than by argument.
        backward: whether its vector-Jacobian product is wanted, too.

    Raises:
        Untraceable: something that Python decides by looking at the data.
    """
    tape, draws = _Tape(x=inputs, s=state, w=fixed), Draws(seed=0)
    tape.batch = state[0].shape[0]
    versions = [version(leaf) for leaf in [*inputs, *state, *fixed]]
    drawn = other_generators()
    draws.begin(0)
    since = edges.now()
    with torch.set_grad_enabled(backward), tape, _Watch(), draws.told(tape), draws:
        outputs, after = step(inputs, state)
    check_drawn(drawn, other_generators())
    check_untouched([*inputs, *state, *fixed], versions)
    check_leaves(outputs, after, state, state[0].shape[0])
    if not draws.repeatable:
        raise Untraceable("the step draws numbers that come from no uniform or normal ones")
    _check_reached([*outputs, *after], [*inputs, *state, *fixed], since)
    forward = len(tape.operations)
    frontier = _frontier(tape, fixed) if backward else {}
    targets = list(frontier.values())
    found = _nothing(outputs, after, inputs, state)
    if backward:
        found = _differentiate(tape, outputs, after, inputs, state, targets)
    return Trace(
        operations=tape.operations,
        forward=forward,
        tensors=tape.tensors,
        lines=tape.lines,
        outputs=[tape.name(leaf) for leaf in outputs],
        state=[tape.name(leaf) for leaf in after],
        frontier=list(frontier),
        untracked=frozenset(tape.untracked),
        detached=tape.detached,
        draws=draws,
        **found._asdict(),
    )


def _frontier(tape: "_Tape", fixed: Leaves) -> dict[Ref, Tensor]:
    """What rows meet of weights, with gradient; the weights themselves where Python is between."""
    taken = {name: tensor for name, tensor in tape.frontier.items() if tensor.requires_grad}
    if edges.ends(taken.values(), 0).python:  # a gradient of the user's own for a weight
        return {Ref(f"w{i}"): leaf for i, leaf in enumerate(fixed) if leaf.requires_grad}
    return taken


def _check_reached(roots: Leaves, known: Leaves, since: int) -> None:
    """Every tensor with gradient that the step reaches is known: else it would get none."""
    ids = {id(leaf) for leaf in known}
    for leaf in edges.ends(roots, since).leaves:
        if id(leaf) not in ids:
            raise Untraceable(
                f"the step reaches a tensor of shape {tuple(leaf.shape)} with gradient that bptt "
                "cannot find in the cell. Make it an attribute of the module, or close over it"
            )


def _nothing(outputs: Leaves, after: Leaves, inputs: Leaves, state: Leaves) -> "_Gradients":
    """No gradients at all."""
    none: list[Ref | None] = [None]
    before = none * len(inputs), none * len(state)
    return _Gradients(none * len(outputs), none * len(after), *before, [])


class _Gradients(NamedTuple):
    d_outputs: list[Ref | None]
    d_state: list[Ref | None]
    d_inputs: list[Ref | None]
    d_before: list[Ref | None]
    d_fixed: list[Ref | None]


def _differentiate(
    tape: "_Tape", outputs: Leaves, after: Leaves, inputs: Leaves, state: Leaves, fixed: Leaves
) -> _Gradients:
    seeds = [_seed(leaf) for leaf in outputs], [_seed(leaf) for leaf in after]
    for name, part in zip(("dy", "ds"), seeds, strict=True):
        for index, seed in enumerate(part):
            if seed is not None:
                tape.know(f"{name}{index}", seed)
    leaves = [*inputs, *state, *fixed]
    pairs = zip([*outputs, *after], [*seeds[0], *seeds[1]], strict=True)
    pairs = [(root, seed) for root, seed in pairs if seed is not None]
    targets = [leaf for leaf in leaves if leaf.requires_grad]
    gradients: dict[int, Tensor | None] = {}
    if pairs and targets:
        roots, given = (list(side) for side in zip(*pairs, strict=True))
        python = edges.ends(roots, 0).python
        with tape, _Watch():
            result = _gradients(roots, targets, given, python)
        if python:
            _check_data_free_backward(tape, roots, targets, given)
        gradients = {id(leaf): g for leaf, g in zip(targets, result, strict=True)}
    found = [gradients.get(id(leaf)) for leaf in leaves]
    named = [None if gradient is None else tape.name(gradient) for gradient in found]
    ends = len(inputs), len(inputs) + len(state)
    seeded = [
        [None if seed is None else Ref(f"{name}{i}") for i, seed in enumerate(part)]
        for name, part in zip(("dy", "ds"), seeds, strict=True)
    ]
    parts = named[: ends[0]], named[ends[0] : ends[1]], named[ends[1] :]
    return _Gradients(seeded[0], seeded[1], *parts)


def _check_data_free_backward(tape: "_Tape", roots: Leaves, targets: Leaves, given: Leaves) -> None:
    """A backward pass written in Python does the same whatever the numbers are.

    What it looks at, with numpy say, no mode of torch's is told. So it is run once more on other
    adjoints, and has to do the same operations with the same numbers in them.
    """
    again = _Tape(lenient=True)
    other = [seed * -0.37 + 0.11 for seed in given]
    with again:
        _gradients(roots, targets, other, False)
    done = tape.operations[len(tape.operations) - len(again.operations) :]
    if [_numbers(op) for op in done] != [_numbers(op) for op in again.operations]:
        raise Untraceable(
            "a backward pass of a torch.autograd.Function looks at the gradient's numbers in "
            "Python. Choose with torch.where(condition, a, b) instead"
        )


def _numbers(operation: Operation) -> tuple:
    """An operation without the names of its tensors."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(plain(item) for item in value)
        return Ref if isinstance(value, Ref) or value is None else repr(value)

    return operation.func, plain(operation.args), plain(operation.kwargs)


def _gradients(roots: Leaves, targets: Leaves, seeds: Leaves, again: bool) -> Sequence[Tensor]:
    """`torch.autograd.grad`, without its import of symbolic shapes: half a second at first use."""
    run = torch.autograd.Variable._execution_engine.run_backward
    edges = tuple(torch.autograd.graph.get_gradient_edge(target) for target in targets)
    return run(tuple(roots), tuple(seeds), again, False, edges, True, accumulate_grad=False)


def _seed(root: Tensor) -> Tensor | None:
    """An adjoint for a result: any numbers do, for only the operations are looked at."""
    return torch.full_like(root.detach(), 0.5) if root.requires_grad else None


class _Tape(TorchDispatchMode):
    """While active, writes down every operation with its tensors and the user's line."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # never inside torch.compile, whose import would cost a second

    def __init__(self, lenient: bool = False, **arguments: Leaves) -> None:
        super().__init__()
        self._lenient = lenient  # whether tensors may come from anywhere
        self.operations: list[Operation] = []
        self.tensors: dict[Ref, Tensor] = {}
        self.lines: dict[Ref, str] = {}
        self.frontier: dict[Ref, Tensor] = {}
        self.untracked: set[Ref] = set()
        self.detached: dict[Ref, frozenset[Ref]] = {}
        self._made_of_rows: set[Ref] = set()
        self.batch = 0
        self._names: dict[tuple, Ref] = {}
        self._alive: list[Any] = []
        for name, leaves in arguments.items():
            for index, leaf in enumerate(leaves):
                self.know(f"{name}{index}", leaf)

    def know(self, name: str, tensor: Tensor) -> None:
        """Name a tensor that comes from outside; the first name stays."""
        with torch._C.DisableTorchFunction():
            key = self._names.setdefault(view_of(tensor), Ref(name))
        self.tensors.setdefault(key, tensor)
        if key[0] in "xsrd":
            self._made_of_rows.add(key)
        self._alive.append(tensor)

    def name(self, tensor: Tensor) -> Ref:
        name = self._names.get(view_of(tensor))
        if name is None:
            raise Untraceable(f"a result of shape {tuple(tensor.shape)} comes from nowhere seen")
        return name

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        line = _line(sys._getframe(1))
        _check_data_free(func, line)
        result = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            self._write(func, args, kwargs, result, line)
        return result

    def _write(self, func: Any, args: tuple, kwargs: dict, result: Any, line: str) -> None:
        if func in _SAME and view_of(args[0]) == view_of(result):
            return  # the same numbers by the same name; autograd itself knows what was detached
        encoded = self._encode(args, func, line), self._encode(tuple(kwargs.items()), func, line)
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        names: list[Ref | None] = []
        rows = self._meet((args, kwargs), encoded, is_for_batch(func, args, result, self.batch))
        detached = {n for n, t in _pairs((args, kwargs), encoded) if not t.requires_grad}
        for index, tensor in enumerate(outputs):
            if not isinstance(tensor, Tensor):
                names.append(None)
                continue
            name = Ref(f"v{len(self.operations)}_{index}")
            names.append(name)
            self._names[view_of(tensor)] = name
            self.tensors[name] = tensor
            self.lines[name] = line
            if rows:
                self._made_of_rows.add(name)
            elif detached and index == 0:
                self.detached[name] = frozenset(detached)
            if not torch.is_grad_enabled():
                self.untracked.add(name)
        self._alive.append((args, result))
        self.operations.append(Operation(func, *encoded, tuple(names)))

    def _meet(self, given: Any, encoded: Any, made: bool) -> bool:
        """Whether an operation takes or makes rows; if so, what it takes besides is noted."""
        pairs = list(_pairs(given, encoded))
        rows = made or any(name in self._made_of_rows for name, _ in pairs)
        if rows:
            for name, tensor in pairs:
                known = self.frontier.get(name)
                if name not in self._made_of_rows and (known is None or not known.requires_grad):
                    self.frontier[name] = tensor
        return rows

    def _encode(self, value: Any, func: Any, line: str) -> Any:
        if isinstance(value, Tensor):
            return self._names.get(view_of(value)) or self._constant(value, func, line)
        if isinstance(value, (tuple, list)):
            return tuple(self._encode(item, func, line) for item in value)
        return value

    def _constant(self, value: Tensor, func: Any, line: str) -> Ref:
        """A tensor written in the step's code, such as `torch.tensor(0.5)`: a name of its own."""
        own = func.overloadpacket in (torch.ops.aten.lift_fresh, torch.ops.aten.lift_fresh_copy)
        scalar = value.dim() == 0 and not value.requires_grad
        if not own and not scalar and not self._lenient:
            raise Untraceable(
                f"takes a tensor of shape {tuple(value.shape)} that bptt cannot find in the cell. "
                "Make it a parameter or buffer, or pass it with the inputs",
                line,
            )
        name = Ref(f"k{len(self._alive)}")
        self.know(name, value.clone() if scalar else value)
        self._names[view_of(value)] = name
        self._alive.append(value)
        return name


def is_for_batch(func: Any, args: tuple, result: Any, batch: int) -> bool:
    """Whether an operation gives each sequence its row of something that has none."""
    if func is not torch.ops.aten.expand.default or not result.dim():
        return False
    own, shape = tuple(args[0].shape), tuple(result.shape)
    alone = len(own) < len(shape) or own[0] == 1
    return shape[0] == batch and batch > 1 and alone


def _pairs(given: Any, encoded: Any) -> Iterator[tuple[Ref, Tensor]]:
    """The tensors of an operation's arguments with their names."""
    if isinstance(given, Tensor):
        yield encoded, given
    elif isinstance(given, dict):
        yield from _pairs(tuple(given.values()), tuple(value for _, value in encoded))
    elif isinstance(given, (tuple, list)):
        for value, name in zip(given, encoded, strict=True):
            yield from _pairs(value, name)


def _line(frame: FrameType | None) -> str:
    """The user's line of the step that is running."""
    return places.line(frame, (trace.__code__, _differentiate.__code__))


_SAME = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


def _check_data_free(func: Any, line: str) -> None:
    if any(tag in func.tags for tag in DATA_DEPENDENT):
        raise Untraceable(
            "Python looks at the data here (an `if` on a tensor, .item(), a mask as an index). "
            "Choose with torch.where(condition, a, b) instead",
            line,
        )


class _Watch(TorchFunctionMode):
    """While active, refuses what reads data without an operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in UNSEEN:
            raise Untraceable(
                f"{func.__name__} takes numbers out of torch, where no kernel can follow. Use "
                "torch's own operations",
                _line(sys._getframe(1)),
            )
        return func(*args, **(kwargs or {}))
