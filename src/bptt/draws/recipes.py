"""What torch's random operations draw, and how their numbers are made of that."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptt.errors import CellError

Arguments = dict[str, Any]
Base = Callable[..., Tensor]
Finish = Callable[[Arguments, Tensor], Any]


class Like(NamedTuple):
    """What the numbers to draw look like."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


@functools.cache
def is_random(func: Any) -> bool:
    """Whether an operation draws from a generator."""
    return torch.Tag.nondeterministic_seeded in func.tags


def like_of(given: Arguments) -> Like:
    """What an operation's numbers look like: its first tensor, or its size."""
    tensors = [given.get(name) for name in ("self", "mean", "std", "input")]
    tensors = [value for value in tensors if isinstance(value, Tensor)]
    if tensors:
        first, *others = (tensor.shape for tensor in tensors)
        shape = torch.broadcast_shapes(first, *others) if others else first
        dtype, device = tensors[0].dtype, tensors[0].device
    else:
        shape, dtype = torch.Size(given["size"]), torch.get_default_dtype()
        device = torch.device("cpu")
    return Like(shape, given.get("dtype") or dtype, torch.device(given.get("device") or device))


def bind(func: Any, args: tuple, kwargs: Arguments) -> Arguments:
    """The operation's arguments by name, defaults filled in."""
    names, defaults = _parameters(func)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


@functools.cache
def _parameters(func: Any) -> tuple[tuple[str, ...], Arguments]:
    """The names of an operation's arguments, and their defaults."""
    schema = func._schema.arguments
    names = tuple(argument.name for argument in schema)
    return names, {argument.name: argument.default_value for argument in schema}


def call(func: Any, given: Arguments) -> Any:
    """The operation with its arguments by name."""
    schema = func._schema.arguments
    return func(
        *(given[argument.name] for argument in schema if not argument.kwarg_only),
        **{argument.name: given[argument.name] for argument in schema if argument.kwarg_only},
    )


def with_generator(func: Any) -> Any:
    """The overload of a random operation that takes a generator, such as randint.low_generator."""
    overload = _GENERATOR_OVERLOADS.get(func._overloadname, "")
    if overload not in func.overloadpacket.overloads():
        raise CellError(
            f"{func} draws random numbers that cannot be drawn again when the step is run once "
            "more in the backward pass. Draw with torch.rand, randn, bernoulli or "
            "torch.nn.functional.dropout in the step, or draw before bptt.unroll and pass the "
            "numbers with the inputs."
        )
    return getattr(func.overloadpacket, overload)


_GENERATOR_OVERLOADS = {
    "default": "generator",
    "low": "low_generator",
    "low_dtype": "low_generator_dtype",
    "Tensor": "Tensor_generator",
}


@functools.cache
def recipe_of(func: Any) -> tuple[Base, Finish] | None:
    """What an operation is drawn from, and how it is made of that; None: by a generator alone."""
    return _RECIPES.get(func._schema.name.removeprefix("aten::"))


def _uniform(given: Arguments, u: Tensor) -> Tensor:
    return given["from"] + (given["to"] - given["from"]) * u


def _bernoulli(given: Arguments, u: Tensor) -> Tensor:
    return u < given.get("p", given["self"])


def _normal(given: Arguments, n: Tensor) -> Tensor:
    return given["mean"] + given["std"] * n


def _dropout(given: Arguments, u: Tensor) -> tuple[Tensor, Tensor]:
    p = 0.0 if given["train"] is False else given["p"]
    keep = u >= p
    return given["input"] * keep * (1 / (1 - p) if p < 1 else 0.0), keep


def _as_drawn(given: Arguments, numbers: Tensor) -> Tensor:
    return numbers


# Name of the operation: what it is drawn from, and how its numbers are made of that.
_RECIPES: dict[str, tuple[Base, Finish]] = {
    "rand": (torch.rand, _as_drawn),
    "rand_like": (torch.rand, _as_drawn),
    "uniform": (torch.rand, _uniform),
    "uniform_": (torch.rand, _uniform),
    "bernoulli": (torch.rand, _bernoulli),
    "bernoulli_": (torch.rand, _bernoulli),
    "native_dropout": (torch.rand, _dropout),
    "randn": (torch.randn, _as_drawn),
    "randn_like": (torch.randn, _as_drawn),
    "normal": (torch.randn, _normal),
    "normal_": (torch.randn, _normal),
}
