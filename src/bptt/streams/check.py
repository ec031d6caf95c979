"""What `lay` is given, checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from bptt.errors import ArgumentError, StructureError
from bptt.structure import describe


def check_counts(
    batch_size: Any, window: Any, seed: Any, longest: Any, shard: tuple[Any, Any]
) -> None:
    """Raise ArgumentError, or StructureError for what is no whole number, unless all are right."""
    _whole("batch_size", batch_size, 1)
    _whole("window", window, 1)
    _whole("seed", seed, 0)
    if longest is not None:
        _whole("longest", longest, 1)
    if not (isinstance(shard, tuple) and len(shard) == 2):
        raise StructureError(f"shard: expected a pair (rank, world), got {shard!r}.")
    rank, world = shard
    _whole("shard's world", world, 1)
    _whole("shard's rank", rank, 0)
    if rank >= world or world > batch_size:
        raise ArgumentError(
            f"shard: expected a rank below world, and a row for each process at least, got rank "
            f"{rank}, world {world} and batch_size {batch_size}."
        )


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise StructureError(f"{name}: expected a whole number, got {value!r}.")
    if value < least:
        raise ArgumentError(f"{name}: expected {least} or more, got {value}.")


def check_sequences(sequences: Sequence[Any], targets: Sequence[Any] | None) -> list[int]:
    """The sequences' lengths; ArgumentError or StructureError unless they are of one kind."""
    lengths = _lengths("sequences", sequences)
    if targets is None:
        return lengths
    others = _lengths("targets", targets)
    if len(others) != len(lengths):
        raise ArgumentError(
            f"targets: expected one for each of {len(lengths)} sequences, got {len(others)}."
        )
    for i, (steps, other) in enumerate(zip(lengths, others, strict=True)):
        if steps != other:
            raise ArgumentError(
                f"targets[{i}]: expected as many steps as sequences[{i}] has, {steps}, got {other}."
            )
    return lengths


def _lengths(name: str, trees: Sequence[Any]) -> list[int]:
    if isinstance(trees, Tensor) or not isinstance(trees, Sequence):
        raise StructureError(
            f"{name}: expected a list of sequences, each a tensor (T, ...) or a pytree of such, "
            f"got {describe(trees)}. One sequence alone is a list of one."
        )
    if not trees:
        raise ArgumentError(f"{name}: expected one sequence at least, got none.")
    kind = _kind(f"{name}[0]", trees[0])
    return [_length(f"{name}[{i}]", tree, f"{name}[0]", kind) for i, tree in enumerate(trees)]


def _length(name: str, tree: Any, first: str, wanted: Any) -> int:
    found = _kind(name, tree)
    if found != wanted:
        raise ArgumentError(
            f"{name}: expected what {first} is but for its length, {_spoken(wanted[1:])}, got "
            f"{_spoken(found[1:])}."
        )
    sizes = {len(leaf) for leaf in pytree.tree_leaves(tree)}
    if len(sizes) > 1:
        raise ArgumentError(f"{name}: expected leaves of one length, got {describe(tree)}.")
    return sizes.pop()


def _kind(name: str, tree: Any) -> tuple:
    """What sequences have in common: structure, and each leaf's sizes, dtype and device."""
    leaves, spec = pytree.tree_flatten(tree)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.dim() for leaf in leaves):
        raise StructureError(
            f"{name}: expected a tensor (T, ...) or a pytree of such, got {describe(tree)}; "
            "torch.as_tensor makes tensors of arrays and lists."
        )
    return spec, *((tuple(leaf.shape[1:]), leaf.dtype, leaf.device) for leaf in leaves)


def _spoken(leaves: Iterable[tuple]) -> str:
    return "; ".join(f"(T, {', '.join(map(str, s))}) {dtype} on {d}" for s, dtype, d in leaves)


def check_state(state: Mapping[str, Any], own: Mapping[str, Any], windows: int) -> None:
    """Raise ArgumentError unless a state is one of rows like these."""
    missing = sorted({"epoch", "position", *own} - set(state))
    if missing:
        raise ArgumentError(
            f"state: expected what state_dict() gave, which has {missing[0]!r} too."
        )
    for name, value in own.items():
        if state[name] != value:
            raise ArgumentError(
                f"state: it was made with {name} {state[name]}, and these rows have {value}; they "
                "would not go on where it stood. Lay the same sequences in the same way."
            )
    if not (state["epoch"] >= 0 and 0 <= state["position"] <= windows):
        raise ArgumentError(
            f"state: expected an epoch of 0 or more and a position up to {windows}, got "
            f"{state['epoch']} and {state['position']}."
        )
