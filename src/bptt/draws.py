"""Random numbers drawn inside a step, the same however often and in whatever order steps are run.

Operation i of a step draws, for steps [64j, 64j + 64), from a generator seeded by (seed, i, j): the
64 steps' uniform or normal numbers at once, of which step t takes its own. So the numbers depend on
nothing but the seed of the unroll, which is taken from torch's generator when a step first draws.
Operations with no uniform or normal to start from (multinomial, poisson, ...) use a generator
seeded by (seed, i, t) for the step alone.
"""

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from bptt.errors import CellError

BLOCK = 64
# On the CPU torch draws normal numbers by so many: the first of many are those of fewer.
CHUNK = 16
# So many numbers may be held from the way out to the way back: fewer bytes than a page or two.
HELD = 2048

Arguments = dict[str, Any]
T = TypeVar("T")


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
        steps: how many there are; None: not known.

    Attributes:
        used: whether anything was drawn at all.
        sparing: whether only torch's functions that are known to draw are looked into, which costs
            less; `settled` makes sure that no other draws.
        repeatable: whether `numbers` gives all that a step draws.
        seed: what the numbers are drawn from; None: not yet taken.
        recording: who is told the numbers by name, r0, r1, ..., if anybody.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # never inside torch.compile, whose import would cost a second

    def __init__(self, seed: int | None = None, steps: int | None = None) -> None:
        super().__init__()
        self.used, self.repeatable, self.sparing = False, True, False
        self.recording: Listener | None = None
        self._plan: dict[int, tuple[Callable[..., Tensor], _Like]] = {}
        self.seed, self.steps_in_all = seed, steps
        self._blocks: dict[int, tuple[int, tuple[Tensor, ...]]] = {}
        self._step = self._operation = 0

    def begin(self, step: int) -> None:
        """The operations that follow belong to processing step `step`."""
        self._step, self._operation = step, 0

    @property
    def drew(self) -> bool:
        """Whether the step that is running, or has run last, drew."""
        return self._operation > 0

    def take_seed(self) -> int:
        """What the numbers are drawn from, taken from torch's generator if it is not there yet."""
        if self.seed is None:
            self.seed = int(torch.empty((), dtype=torch.int64).random_())
        return self.seed

    def rewind(self) -> None:
        """The step is run once more, from its first operation."""
        self._operation = 0

    def numbers(self) -> list[Tensor]:
        """What the operations of the present step are made from, without running it."""
        return [self._base(base, like, operation) for operation, (base, like) in self._plan.items()]

    def anew(self, seed: int | None, steps: int | None) -> "Draws":
        """The same operations with another seed."""
        other = Draws(seed, steps)
        other.used, other._plan = self.used, dict(self._plan)
        return other

    def for_batch(self, rows: int, seed: int | None = None, steps: int | None = None) -> "Draws":
        """The same operations for another number of rows, with another seed."""
        if not self.used:
            return self
        other = self.anew(seed, steps)
        other._plan = {
            operation: (base, like._replace(shape=torch.Size((rows, *like.shape[1:]))))
            for operation, (base, like) in self._plan.items()
        }
        return other

    def steps(self, operation: int, count: int, first: int = 0) -> Tensor:
        """(count, ...) the numbers of an operation at `count` steps from `first` on."""
        base, like = self._plan[operation]
        start, stop = first // BLOCK, -(-(first + count) // BLOCK)
        blocks = [self._block(base, like, operation, j, BLOCK) for j in range(start, stop)]
        return torch.cat(blocks)[first - start * BLOCK :][:count]

    def inside(self) -> AbstractContextManager:
        """Where a step is run: with its draws substituted, if it draws."""
        if not self.used:
            return nullcontext()
        return _Sparing(self) if self.sparing else self.whole()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Where every draw is substituted, and dropout as it is where the mode is sparing."""
        with self, _Dropping(self):
            yield

    @contextmanager
    def told(self, recording: Listener) -> Iterator[None]:
        """Where a recording is told the numbers by name."""
        self.recording = recording
        try:
            yield
        finally:
            self.recording = None

    def release(self, most: int = 0) -> None:
        """Let go of the numbers held for the running block, if they are more than `most`."""
        held = sum(numbers[0].numel() * len(numbers) for _, numbers in self._blocks.values())
        if held > most:
            self._blocks.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not _draws(func):
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
        recipe = _recipe(func)
        if recipe is None:
            return self._draw_alone(func, given, operation)
        base, finish = recipe
        like = _like(given)
        self._plan[operation] = base, like
        numbers = self._numbers(base, like, operation)
        value = finish(given, numbers)
        if func._schema.name.endswith("_"):  # the copy converts
            return given["self"].copy_(value)
        return value if isinstance(value, tuple) else value.to(like.dtype)

    def dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor | None:
        """`torch.nn.functional.dropout` by these numbers, in the operations that torch does.

        None where it is a case of its own.
        """
        plain = training and not inplace and 0 < p < 1 and input.device.type == "cpu"
        if not plain or not input.numel():
            return None
        like = _Like(input.shape, input.dtype, input.device)
        self.used = True
        operation, self._operation = self._operation, self._operation + 1
        self._plan[operation] = torch.rand, like
        keep = self._numbers(torch.rand, like, operation) < 1 - p
        return input * keep.to(input.dtype).div_(1 - p)

    def _numbers(self, base: Callable[..., Tensor], like: _Like, operation: int) -> Tensor:
        """What an operation of the step that is running is made from."""
        numbers = self._base(base, like, operation)
        if self.recording is not None:
            self.recording.know(f"r{operation}", numbers)
        return numbers

    def _base(self, base: Callable[..., Tensor], like: _Like, operation: int) -> Tensor:
        """This step's share of a block of uniform or normal numbers in the shape of `like`."""
        block, offset = divmod(self._step, BLOCK)
        held = self._blocks.get(operation)
        if held is None or held[0] != block or held[1][0].shape != like.shape:
            with _no_modes():  # these are made for the step, not by it
                numbers = self._block(base, like, operation, block, self._needed(block))
                held = self._blocks[operation] = (block, numbers.unbind(0))
        return held[1][offset]

    def _needed(self, block: int) -> int:
        """How many of a block's steps will be asked for."""
        return BLOCK if self.steps_in_all is None else min(BLOCK, self.steps_in_all - block * BLOCK)

    def _block(
        self, base: Callable[..., Tensor], like: _Like, operation: int, block: int, needed: int
    ) -> Tensor:
        """(BLOCK, ...) numbers, or their first (needed, ...) where those can be had alone."""
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        generator = self._generator(like.device, operation, block)
        size = like.shape.numel()
        count = -(-needed * size // CHUNK) * CHUNK
        if like.device.type != "cpu" or count >= BLOCK * size:
            return base((BLOCK, *like.shape), generator=generator, dtype=dtype, device=like.device)
        numbers = base(count, generator=generator, dtype=dtype)
        numbers = numbers if count == needed * size else numbers[: needed * size]
        return numbers.view(needed, *like.shape)

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
        key = f"{self.take_seed()} {operation} {block}".encode()
        seed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little", signed=True)
        return _source(device).manual_seed(seed)


class _Dropping(TorchFunctionMode):
    """While active, dropout draws by (seed, operation, step); all else is left alone."""

    def __init__(self, draws: Draws) -> None:
        super().__init__()
        self._draws = draws

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is nn.functional.dropout:
            found = self._draws.dropout(*args, **kwargs)
            if found is not None:
                return found
        return func(*args, **kwargs)


class _Sparing(_Dropping):
    """While active, functions that may draw do so by (seed, operation, step)."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func not in _MAY_DRAW:
            return func(*args, **kwargs) if kwargs else func(*args)
        if func is nn.functional.dropout:
            found = self._draws.dropout(*args, **(kwargs or {}))
            if found is not None:
                return found
        with self._draws:
            return func(*args, **(kwargs or {}))


_MAY_DRAW = {
    nn.functional.dropout,
    nn.functional.alpha_dropout,
    torch.bernoulli,
    torch.multinomial,
    torch.poisson,
    torch.randint,
    torch.dropout,
    torch.native_dropout,
    torch.normal,
    torch.rand,
    torch.rand_like,
    torch.randn,
    torch.randn_like,
    Tensor.bernoulli,
    Tensor.bernoulli_,
    Tensor.multinomial,
    Tensor.normal_,
    Tensor.uniform_,
}


_SOURCES = threading.local()


def _source(device: torch.device) -> torch.Generator:
    """A generator of this thread's, to be seeded: a new one costs more than to seed it."""
    sources = vars(_SOURCES)
    found = sources.get(str(device))
    if found is None:
        found = sources[str(device)] = torch.Generator(device)
    return found


@functools.cache
def _draws(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _no_modes() -> AbstractContextManager:
    """Where no mode sees what is done; most often there is none besides this one."""
    alone = torch._C._len_torch_dispatch_stack() == 0
    return nullcontext() if alone else _disable_current_modes()


def settled(
    draws: Draws, device: torch.device, run: Callable[[], T], with_draws: Callable[[], T]
) -> T:
    """A way forward; once more with the draws substituted, should a step draw unexpectedly.

    Args:
        draws: of the run; where they are used already, or come to be, the first run counts.
        device: whose generator tells.
        run: the way forward.
        with_draws: the same, where every step looks whether `draws.used`.
    """
    if draws.sparing:
        draws.take_seed()
    before = None if draws.used and not draws.sparing else _generator_state(device)
    found = run()
    watched = before is not None and (draws.sparing or not draws.used)
    if before is not None and watched and not torch.equal(before, _generator_state(device)):
        _set_generator_state(device, before)
        draws.repeatable = draws.repeatable and draws.sparing
        draws.used, draws.sparing = True, False
        found = with_draws()
    draws.release(HELD)
    return found


def _generator_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def _set_generator_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _bind(func: Any, args: tuple, kwargs: Arguments) -> Arguments:
    """The operation's arguments by name, defaults filled in."""
    names, defaults = _parameters(func)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


@functools.cache
def _parameters(func: Any) -> tuple[tuple[str, ...], Arguments]:
    """The names of an operation's arguments, and their defaults."""
    schema = func._schema.arguments
    names = tuple(argument.name for argument in schema)
    return names, {argument.name: argument.default_value for argument in schema}


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
        first, *others = (tensor.shape for tensor in tensors)
        shape = torch.broadcast_shapes(first, *others) if others else first
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


@functools.cache
def _recipe(func: Any) -> tuple[Callable[..., Tensor], Callable[[Arguments, Tensor], Any]] | None:
    return _RECIPES.get(func._schema.name.removeprefix("aten::"))


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
