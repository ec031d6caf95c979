"""The random numbers of one unroll, operation by operation and step by step."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bptt.draws.modes import Dropping, Sparing, without_modes
from bptt.draws.recipes import (
    Arguments,
    Base,
    Like,
    bind,
    call,
    is_random,
    like_of,
    recipe_of,
    with_generator,
)
from bptt.draws.source import BLOCK, block, seeded
from bptt.errors import CellError

# What becomes of so many numbers is made at once: enough to hide a call's cost.
TOGETHER = 8192


class Listener(Protocol):
    """Who is told the numbers of a step by name."""

    def know(self, name: str, tensor: Tensor) -> None: ...


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
        self._plan: dict[int, tuple[Base, Like]] = {}
        self.seed, self.steps_in_all = seed, steps
        self._blocks: dict[int, tuple[int, Tensor, tuple[Tensor, ...]]] = {}
        self._made: tuple[Any, range, list[tuple[Tensor, ...]]] | None = None
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

    def made(self, make: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What becomes of the numbers of the present step.

        Args:
            make: makes it of what the operations are made from, (steps, ...) each, for any steps.
        """
        if not self._plan:
            return ()
        if self._made is None or self._made[0] != make or self._step not in self._made[1]:
            steps = self._together()
            shares = make(*self._stretch(steps))
            by_step = [share.unbind(0) for share in shares]
            self._made = make, steps, list(zip(*by_step, strict=True))
        _, steps, made = self._made
        return made[self._step - steps.start] if made else ()

    def _together(self) -> range:
        """Steps of a block, the present one among them, whose numbers weigh little in memory."""
        numbers = max(like.shape.numel() for _, like in self._plan.values())
        count = BLOCK
        while count > 1 and count * numbers > TOGETHER:
            count //= 2
        first = self._step // count * count
        return range(first, first + count)

    def _stretch(self, steps: range) -> Iterator[Tensor]:
        """What each operation is made from at some steps of a block, (steps, ...)."""
        index, offset = divmod(steps.start, BLOCK)
        for operation, (base, like) in self._plan.items():
            numbers, _ = self._block(base, like, operation, index)
            yield numbers[offset : offset + len(steps)]

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
        blocks = [
            block(base, like, (self.take_seed(), operation, j), BLOCK) for j in range(start, stop)
        ]
        return torch.cat(blocks)[first - start * BLOCK :][:count]

    def inside(self) -> AbstractContextManager:
        """Where a step is run: with its draws substituted, if it draws."""
        if not self.used:
            return nullcontext()
        return Sparing(self) if self.sparing else self.whole()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Where every draw is substituted, and dropout as it is where the mode is sparing."""
        with self, Dropping(self):
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
        if self._blocks and sum(held[1].numel() for held in self._blocks.values()) > most:
            self._blocks.clear()
            self._made = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not is_random(func):
            return func(*args, **kwargs)
        return self._draw(func, bind(func, args, kwargs))

    def _draw(self, func: Any, given: Arguments) -> Any:
        if given.get("generator") is not None:
            raise CellError(
                f"{func} in a step was given a generator of its own. Steps are run again in the "
                "backward pass and draw from torch's generator by seed: leave `generator` out and "
                "call torch.manual_seed before bptt.unroll."
            )
        self.used = True
        operation, self._operation = self._operation, self._operation + 1
        recipe = recipe_of(func)
        if recipe is None:
            return self._draw_alone(func, given, operation)
        base, finish = recipe
        like = like_of(given)
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
        like = Like(input.shape, input.dtype, input.device)
        self.used = True
        operation, self._operation = self._operation, self._operation + 1
        self._plan[operation] = torch.rand, like
        keep = self._numbers(torch.rand, like, operation) < 1 - p
        return input * keep.to(input.dtype).div_(1 - p)

    def _numbers(self, base: Base, like: Like, operation: int) -> Tensor:
        """What an operation of the step that is running is made from."""
        numbers = self._base(base, like, operation)
        if self.recording is not None:
            self.recording.know(f"r{operation}", numbers)
        return numbers

    def _base(self, base: Base, like: Like, operation: int) -> Tensor:
        """This step's share of a block of uniform or normal numbers in the shape of `like`."""
        index, offset = divmod(self._step, BLOCK)
        return self._block(base, like, operation, index)[1][offset]

    def _block(
        self, base: Base, like: Like, operation: int, index: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(steps, ...) uniform or normal numbers of a block of steps, and each step's share."""
        held = self._blocks.get(operation)
        if held is not None and held[0] == index and held[1].shape[1:] == like.shape:
            return held[1:]
        with without_modes():  # these are made for the step, not by it
            key = self.take_seed(), operation, index
            numbers = block(base, like, key, self._needed(index))
            shares = numbers.unbind(0)
        self._blocks[operation] = index, numbers, shares
        return numbers, shares

    def _needed(self, index: int) -> int:
        """How many of a block's steps will be asked for."""
        return BLOCK if self.steps_in_all is None else min(BLOCK, self.steps_in_all - index * BLOCK)

    def _draw_alone(self, func: Any, given: Arguments, operation: int) -> Any:
        switches = [given[name] for name in ("dropout", "dropout_p") if name in given]
        if switches and not any(switches):
            return call(func, given)
        self.repeatable = False
        func = func if "generator" in given else with_generator(func)
        tensors = [value for value in given.values() if isinstance(value, Tensor)]
        device = tensors[0].device if tensors else torch.device(given.get("device") or "cpu")
        generator = seeded(device, self.take_seed(), operation, -1 - self._step)
        return call(func, {**given, "generator": generator})
