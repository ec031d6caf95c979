"""The checks that every cell and backend must pass, public so that yours can pass them too."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bptt.ready import initial_state
from bptt.replica import Replica
from bptt.structure import Structure
from bptt.unroll import unroll

__all__ = ["TOLERANCES", "Case", "assert_close", "cases", "check_cell", "gradients", "oracle"]

# Largest allowed |found - expected| / (|expected| + 1), by dtype: values, gradients, and gradients
# against central differences (float64 alone; their own error is about 1e-8).
TOLERANCES = {
    torch.float64: {"values": 1e-12, "gradients": 1e-10, "differences": 1e-6},
    torch.float32: {"values": 1e-5, "gradients": 1e-4},
}


class Case(NamedTuple):
    """Keywords of `unroll` that belong together in one check."""

    name: str
    keywords: dict[str, Any]


def oracle(
    cell: Any,
    inputs: Any,
    state: Any,
    *,
    lengths: Sequence[int] | None = None,
    reset: Tensor | None = None,
    reset_state: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """What `unroll` must compute: each sequence alone, step after step, differentiated by autograd.

    Arguments, shapes and results are those of `unroll`. Written for truth, not for speed: rows are
    run one by one, so no row can depend on another and padding is never touched.
    """
    steps, batch = pytree.tree_leaves(inputs)[0].shape[:2]
    if reset_state is None:
        reset_state = state if reset is None else initial_state(cell, batch)
    rows = []
    for b in range(batch):
        live = steps if lengths is None else int(lengths[b])
        one, start = _row(inputs, b, 1), _row(state, b, 0)
        fresh = _row(_expand(reset_state, state), b, 0)
        resets = [] if reset is None else reset[:live, b].nonzero().flatten().tolist()
        order = range(live - 1, -1, -1) if reverse else range(live)
        rows.append(_run_alone(cell, one, start, fresh, order, resets))
    return _gather(rows, steps), pytree.tree_map(lambda *s: torch.cat(s), *(r[1] for r in rows))


def _run_alone(
    cell: Any, inputs: Any, state: Any, fresh: Any, order: range, resets: list[int]
) -> tuple[dict[int, Any], Any]:
    structure = Structure(state)
    outputs = {}
    for t in order:
        x = pytree.tree_map(lambda leaf, t=t: leaf[t], inputs)
        result = cell(x, fresh if t in resets else state)
        bare = structure.flatten(result) is not None
        outputs[t] = pytree.tree_leaves(result)[0] if bare else result[0]
        state = structure.unflatten(structure.flatten(result if bare else result[1]) or [])
    return outputs, state


def _gather(rows: list[tuple[dict[int, Any], Any]], steps: int) -> Any:
    """Outputs of single sequences as (T, B, ...), zero where a sequence has no step."""
    some = next(y for outputs, _ in rows for y in outputs.values())
    zero = pytree.tree_map(torch.zeros_like, some)
    table = [[outputs.get(t, zero) for outputs, _ in rows] for t in range(steps)]
    across = [pytree.tree_map(lambda *leaves: torch.cat(leaves), *line) for line in table]
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *across)


def _row(tree: Any, b: int, axis: int) -> Any:
    return pytree.tree_map(lambda leaf: leaf.narrow(axis, b, 1), tree)


def _expand(tree: Any, like: Any) -> Any:
    pairs = zip(pytree.tree_leaves(tree), pytree.tree_leaves(like), strict=True)
    leaves = [leaf.expand(target.shape) for leaf, target in pairs]
    return pytree.tree_unflatten(leaves, pytree.tree_structure(like))


def gradients(
    run: Callable[..., tuple[Any, Any]], targets: Sequence[Tensor], seed: int = 0
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Leaves of `run()`'s outputs and final state, and the gradients of a random sum of them."""
    result = run()
    found = torch.autograd.grad(_random_sum(result, seed), targets, allow_unused=True)
    return [leaf.detach() for leaf in pytree.tree_leaves(result)], list(found)


def _random_sum(result: Any, seed: int = 0) -> Tensor:
    """A loss that weighs every output at every time, and the final state, differently."""
    generator = torch.Generator().manual_seed(seed)
    terms = [
        (leaf * torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)).sum()
        for leaf in pytree.tree_leaves(result)
        if leaf.requires_grad
    ]
    return torch.stack(terms).sum()


def assert_close(found: Tensor | None, expected: Tensor | None, kind: str, what: str) -> None:
    """Compare by the tolerance table.

    Raises:
        AssertionError: naming what differs, by how much and how much is allowed.

    >>> assert_close(torch.ones(2), torch.ones(2), "values", "outputs")
    """
    if found is None or expected is None:
        other = expected if found is None else found
        if other is None or not other.any():
            return
        raise AssertionError(f"{what}: {'nothing' if found is None else 'a gradient'} was found")
    if found.shape != expected.shape:
        raise AssertionError(f"{what}: shape {tuple(found.shape)}, not {tuple(expected.shape)}")
    if not found.numel():
        return
    allowed = TOLERANCES[found.dtype][kind]
    error = float(((found - expected).abs() / (expected.abs() + 1)).detach().max())
    if not error <= allowed:  # written so that NaN fails
        raise AssertionError(f"{what}: relative error {error:.2g}, allowed are {allowed:.2g}")


def cases(steps: int, batch: int, generator: torch.Generator) -> list[Case]:
    """Every feature of `unroll` alone, and all of them together."""
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
    lengths[-1] = steps
    reset = torch.rand(steps, batch, generator=generator) < 0.3
    return [
        Case("plain", {}),
        Case("reverse", {"reverse": True}),
        Case("lengths", {"lengths": lengths}),
        Case("reset", {"reset": reset}),
        Case("all", {"lengths": lengths, "reset": reset, "reverse": True}),
    ]


def check_cell(
    cell: Any,
    inputs: Tensor | int,
    state: Any = None,
    *,
    steps: int = 10,
    batch: int = 3,
    seed: int = 0,
) -> None:
    """Check that `unroll` runs a cell as a plain loop would, with the gradients of the mathematics.

    In float64, for every feature (reverse, lengths, resets, all at once): outputs and final state
    against each sequence run alone, and the gradients to inputs, state, reset state and weights
    against autograd and against central differences. A cell that draws random numbers is checked in
    `eval()`, or not at all: rows run alone draw others.

    Args:
        cell: a module, or a function that closes over its weights, which are then float64. A module
            is copied to float64.
        inputs: the number of input features, or inputs (T, B, ...) to use.
        state: s_0; None for the cell's own.
        steps: T, where `inputs` is a number.
        batch: B, where `inputs` is a number.
        seed: of the inputs.

    Raises:
        AssertionError: naming the feature, the tensor and by how much it is off.

    >>> import bptt
    >>> check_cell(bptt.cells.Elman(3, 4), 3)
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(cell, nn.Module):
        cell = copy.deepcopy(cell).double()
    if isinstance(inputs, int):
        inputs = torch.randn(steps, batch, inputs, generator=generator, dtype=torch.float64)
    inputs = _leaf(inputs)
    steps, batch = inputs.shape[:2]
    state = pytree.tree_map(_leaf, initial_state(cell, batch) if state is None else state)
    fresh = pytree.tree_map(lambda leaf: _leaf(leaf + 0.1 if leaf.requires_grad else leaf), state)
    named = [("inputs", inputs), *(("state", leaf) for leaf in pytree.tree_leaves(state))]
    named += [("reset_state", leaf) for leaf in pytree.tree_leaves(fresh)]
    named += _weights(cell)
    targets = {f"{name} ({i})": leaf for i, (name, leaf) in enumerate(named) if leaf.requires_grad}
    for case in cases(steps, batch, generator):
        if "reset" in case.keywords:
            case = Case(case.name, {**case.keywords, "reset_state": fresh})
        _check_case(cell, inputs, state, case, list(targets), list(targets.values()))


def _weights(cell: Any) -> list[tuple[str, Tensor]]:
    if isinstance(cell, nn.Module):
        return list(cell.named_parameters())
    return [("a weight", source) for source in Replica(cell).sources if source.is_leaf]


def _leaf(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor.detach().double().clone().requires_grad_()


def _check_case(
    cell: Any, inputs: Tensor, state: Any, case: Case, names: list[str], targets: list[Tensor]
) -> None:
    def ours() -> tuple[Any, Any]:
        return unroll(cell, inputs, state, **case.keywords)

    values, found = gradients(ours, targets)
    expected_values, expected = gradients(
        lambda: oracle(cell, inputs, state, **case.keywords), targets
    )
    for value, right in zip(values, expected_values, strict=True):
        assert_close(value, right, "values", f"{case.name}: outputs and state")
    for name, gradient, right in zip(names, found, expected, strict=True):
        assert_close(gradient, right, "gradients", f"{case.name}: gradient to {name}")
    for name, gradient, target in zip(names, found, targets, strict=True):
        _check_difference(ours, target, gradient, f"{case.name}: gradient to {name}")


def _check_difference(
    run: Callable[[], tuple[Any, Any]], target: Tensor, gradient: Tensor | None, what: str
) -> None:
    """The derivative along one random direction, against a central difference."""
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(target.shape, generator=generator, dtype=target.dtype)
    origin, step = target.detach().clone(), 1e-5

    def loss_at(distance: float) -> Tensor:
        with torch.no_grad():
            target.copy_(origin + distance * direction)
        return _random_sum(run())

    try:
        expected = (loss_at(step) - loss_at(-step)) / (2 * step)
    finally:
        with torch.no_grad():
            target.copy_(origin)
    found = torch.zeros_like(expected) if gradient is None else (gradient * direction).sum()
    assert_close(found, expected, "differences", what)
