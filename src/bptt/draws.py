"""Random numbers drawn inside a step, the same however often and in whatever order steps are run.

Operation i of a step draws, for steps [64j, 64j + 64), from a generator seeded by (seed, i, j): the
64 steps' uniform or normal numbers at once, of which step t takes its own. So the numbers depend on
nothing but the seed of the unroll, which is taken from torch's generator when a step first draws.
Operations with no uniform or normal to start from (multinomial, poisson, ...) use a generator
seeded by (seed, i, t) for the step alone.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from bptt.errors import CellError

BLOCK = 64

Arguments = dict[str, Any]


class Listener(Protocol):
    """Who is told the numbers of a step by name."""

    def know(self, name: str, tensor: Tensor) -> None: ...


class _Like(NamedTuple):
    """What the numbers to draw look like."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class Draws(TorchDispatchMode):
    """While active, every random operation draws by (seed, operation, step).

    Call `begin` before each step. Where nothing is drawn the mode need not be active, which saves
    its cost.

    Args:
        seed: what the numbers are drawn from; None: taken from torch's generator when first needed.

    Attributes:
        used: whether anything was drawn at all.
        repeatable: whether `numbers` gives all that a step draws.
        recording: who is told the numbers by name, r0, r1, ..., if anybody.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # never inside torch.compile, whose import would cost a second

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.used, self.repeatable = False, True
        self.recording: Listener | None = None
        self._plan: dict[int, tuple[Callable[..., Tensor], _Like]] = {}
        self._seed = seed
        self._blocks: dict[int, tuple[int, Tensor]] = {}
        self._step = self._operation = 0

    def begin(self, step: int) -> None:
        """The operations that follow belong to processing step `step`."""
        self._step, self._operation = step, 0

    def rewind(self) -> None:
        """The step is run once more, from its first operation."""
        self._operation = 0

    def numbers(self) -> list[Tensor]:
        """What the operations of the present step are made from, without running it."""
        return [self._base(base, like, operation) for operation, (base, like) in self._plan.items()]

    def for_batch(self, rows: int, seed: int | None = None) -> "Draws":
        """The same operations for another number of rows, with another seed."""
        if not self.used:
            return self
        other = Draws(seed)
        other.used = self.used
        other._plan = {
            operation: (base, like._replace(shape=torch.Size((rows, *like.shape[1:]))))
            for operation, (base, like) in self._plan.items()
        }
        return other

    def steps(self, operation: int, count: int, first: int = 0) -> Tensor:
        """(count, ...) the numbers of an operation at `count` steps from `first` on."""
        base, like = self._plan[operation]
        start, stop = first // BLOCK, -(-(first + count) // BLOCK)
        blocks = [self._block(base, like, operation, j) for j in range(start, stop)]
        return torch.cat(blocks)[first - start * BLOCK :][:count]

    def inside(self) -> AbstractContextManager:
        """Where a step is run: with its draws substituted, if it draws."""
        return self if self.used else nullcontext()

    @contextmanager
    def told(self, recording: Listener) -> Iterator[None]:
        """Where a recording is told the numbers by name."""
        self.recording = recording
        try:
            yield
        finally:
            self.recording = None

    def release(self) -> None:
        """Let go of the numbers held for the running block."""
        self._blocks.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        return self._draw(func, _bind(func, args, kwargs))

    def _draw(self, func: Any, given: Arguments) -> Any:
        if given.get("generator") is not None:
            raise CellError(
                f"{func} in a step was given a generator of its own. Steps are run again in the "
                "backward pass and draw from torch's generator by seed: leave `generator` out and "
                "call torch.manual_seed before bptt.unroll."
            )
        self.used = True
        operation, self._operation = self._operation, self._operation + 1
        recipe = _RECIPES.get(func._schema.name.removeprefix("aten::"))
        if recipe is None:
            return self._draw_alone(func, given, operation)
        base, finish = recipe
        like = _like(given)
        self._plan[operation] = base, like
        numbers = self._base(base, like, operation)
        if self.recording is not None:
            self.recording.know(f"r{operation}", numbers)
        value = finish(given, numbers)
        if func._schema.name.endswith("_"):
            return given["self"].copy_(value)
        return value if isinstance(value, tuple) else value.to(like.dtype)

    def _base(self, base: Callable[..., Tensor], like: _Like, operation: int) -> Tensor:
        """This step's share of a block of uniform or normal numbers in the shape of `like`."""
        block, offset = divmod(self._step, BLOCK)
        held = self._blocks.get(operation)
        if held is None or held[0] != block or held[1].shape[1:] != like.shape:
            with _disable_current_modes():  # these are made for the step, not by it
                numbers = self._block(base, like, operation, block)
            held = self._blocks[operation] = (block, numbers)
        with _disable_current_modes():
            return held[1][offset]

    def _block(
        self, base: Callable[..., Tensor], like: _Like, operation: int, block: int
    ) -> Tensor:
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        generator = self._generator(like.device, operation, block)
        shape = (BLOCK, *like.shape)
        return base(shape, generator=generator, dtype=dtype, device=like.device)

    def _draw_alone(self, func: Any, given: Arguments, operation: int) -> Any:
        switches = [given[name] for name in ("dropout", "dropout_p") if name in given]
        if switches and not any(switches):
            return _call(func, given)
        self.repeatable = False
        func = func if "generator" in given else _with_generator(func)
        tensors = [value for value in given.values() if isinstance(value, Tensor)]
        device = tensors[0].device if tensors else torch.device(given.get("device") or "cpu")
        generator = self._generator(device, operation, -1 - self._step)
        return _call(func, {**given, "generator": generator})

    def _generator(self, device: torch.device, operation: int, block: int) -> torch.Generator:
        if self._seed is None:
            self._seed = int(torch.empty((), dtype=torch.int64).random_())
        key = f"{self._seed} {operation} {block}".encode()
        seed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little", signed=True)
        return torch.Generator(device).manual_seed(seed)


def _bind(func: Any, args: tuple, kwargs: Arguments) -> Arguments:
    """The operation's arguments by name, defaults filled in."""
    schema = func._schema.arguments
    given = {argument.name: argument.default_value for argument in schema}
    given.update(zip((argument.name for argument in schema), args, strict=False))
    return given | kwargs


def _with_generator(func: Any) -> Any:
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


def _call(func: Any, given: Arguments) -> Any:
    schema = func._schema.arguments
    return func(
        *(given[argument.name] for argument in schema if not argument.kwarg_only),
        **{argument.name: given[argument.name] for argument in schema if argument.kwarg_only},
    )


def _like(given: Arguments) -> _Like:
    tensors = [given.get(name) for name in ("self", "mean", "std", "input")]
    tensors = [value for value in tensors if isinstance(value, Tensor)]
    if tensors:
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
        dtype, device = tensors[0].dtype, tensors[0].device
    else:
        shape, dtype = torch.Size(given["size"]), torch.get_default_dtype()
        device = torch.device("cpu")
    return _Like(shape, given.get("dtype") or dtype, torch.device(given.get("device") or device))


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
_RECIPES: dict[str, tuple[Callable[..., Tensor], Callable[[Arguments, Tensor], Any]]] = {
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
