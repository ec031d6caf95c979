"""A recording made smaller and written as Python: what a step does, without the step.

Passes over the list of operations, each from list to list: operations that write in place become
ones that do not; those that only rename a tensor or repeat another vanish; values that are known
already are read instead of computed; what nobody uses is dropped. Then what depends on weights
alone is parted from the rest, to be computed once, and so is what only adds up rows for a weight's
gradient, to be computed for many steps at a time.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from bptt.compiler.drawn import parted
from bptt.compiler.record import Operation, Ref, arguments_of, results_of
from bptt.compiler.script import Script

aten = torch.ops.aten
_RENAMES = (aten.detach.default, aten.alias.default, aten.lift_fresh.default)


class Program(NamedTuple):
    """A step's results in four functions of Python.

        values = once(*weights)
        made = drawn(*draws)
        results = step(*arguments, *values)
        late = after(*rows, *values)

    The arguments of `step` are those of the task, with what `drawn` makes in the place of what is
    drawn; it takes the numbers of any number of steps, (steps, ...), and gives such.

    The results of `step` are those of the task, with None for the late ones, and behind them the
    rows that `after` takes: tensors whose rows of any number of steps may be stacked, for the late
    results are sums over rows.

    Attributes:
        late: for each of `after`'s results, its place among the task's summed ones.
        source: the four functions, to read.
    """

    once: Callable[..., tuple]
    drawn: Callable[..., tuple]
    step: Callable[..., tuple]
    after: Callable[..., tuple]
    late: tuple[int, ...]
    source: str


class Task(NamedTuple):
    """What is to become a program.

    Attributes:
        operations: what was recorded.
        arguments: names that come with every step.
        weights: names that stay the same from step to step.
        known: name of a value, name of the argument that holds it already.
        results: names to return; None where there is nothing to return.
        summed: how many of the results, counted from the end, are wanted as sums over the steps.
        draws: those arguments, next to each other, that are random numbers.
    """

    operations: tuple[Operation, ...]
    arguments: tuple[Ref, ...]
    weights: tuple[Ref, ...]
    known: tuple[tuple[Ref, Ref], ...]
    results: tuple[Ref | None, ...]
    summed: int
    draws: tuple[Ref, ...] = ()


@functools.lru_cache(maxsize=256)
def build(task: Task) -> Program | None:
    """The program of a task, or None where a write in place cannot be undone."""
    operations = without_writes(task.operations, task.results)
    if operations is None:
        return None
    operations, renamed = _without_repeats(operations)
    known = {renamed.get(value, value): name for value, name in task.known}
    operations = [_rename(operation, known) for operation in operations]
    results = [renamed.get(name, name) if name else None for name in task.results]
    results = [known.get(name, name) if name else None for name in results]
    once, loop = _parted(_used(operations, results), task.weights)
    drawn, loop = parted(loop, task.draws)
    fixed = {*task.weights} | results_of(once)
    sums = _Sums(loop, fixed)
    first = len(results) - task.summed
    returned, summed = results[:first], results[first:]
    late = tuple(i for i, name in enumerate(summed) if name and sums.find(name))
    ends = [sums.find(name) for i, name in enumerate(summed) if i in late and name]
    direct = [None if i in late else name for i, name in enumerate(summed)]
    early = [*returned, *direct, *sums.rows]
    columns = once, drawn, _used(loop, early), sums.operations
    return _write(task, columns, early, ends, late, sums.rows)


def without_writes(
    operations: Sequence[Operation], results: Iterable[Ref | None]
) -> list[Operation] | None:
    """`add_(a, b)` as `add(a, b)`, unless memory written so is read again by a name from before."""
    owners: dict[Ref, Ref] = {}
    for operation in operations:
        owners.update(_shared(operation, owners))
    rewritten, made = [], {name for name in _all_names(operations) if not name.startswith("v")}
    for index, operation in enumerate(operations):
        target = _written(operation)
        if target is not None:
            owner = owners.get(target, target)
            before = {name for name in made if owners.get(name, name) == owner}
            later = arguments_of(operations[index + 1 :]) | set(results)
            func = _functional(operation.func)
            if func is None or not owner.startswith("v") or before & later:
                return None
            operation = operation._replace(func=func)
        made.update(name for name in operation.results if name)
        rewritten.append(operation)
    return rewritten


def _shared(operation: Operation, owners: dict[Ref, Ref]) -> dict[Ref, Ref]:
    """For each result that views an argument's memory: whose memory that is."""
    of_argument = {}
    for argument, value in zip(operation.func._schema.arguments, operation.args, strict=False):
        if argument.alias_info is not None and isinstance(value, Ref):
            of_argument.update(dict.fromkeys(argument.alias_info.before_set, value))
    shared = {}
    for returned, name in zip(_returns(operation), operation.results, strict=False):
        sets = returned.alias_info.before_set if returned.alias_info is not None else ()
        for alias in sets:
            if name and alias in of_argument:
                shared[name] = owners.get(of_argument[alias], of_argument[alias])
    return shared


def _returns(operation: Operation) -> list[Any]:
    """The declared return of each result; a list's declaration stands for all of its items."""
    declared = list(operation.func._schema.returns)
    if len(declared) == len(operation.results) or not declared:
        return declared
    return declared[:1] * len(operation.results)


def _written(operation: Operation) -> Ref | None:
    """The argument that an operation writes into; "" if it is not a single tensor."""
    schema = operation.func._schema
    targets = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
    if not targets:
        return None
    first = operation.args[0] if operation.args else None
    alone = len(targets) == 1 and schema.arguments[0].name == targets[0]
    return first if alone and isinstance(first, Ref) else Ref("")


def _functional(func: Any) -> Any:
    """The operation that computes what `func` would write, such as add.Tensor for add_.Tensor."""
    name = func._schema.name.removeprefix("aten::")
    packet = getattr(aten, name.removesuffix("_"), None) if name.endswith("_") else None
    found = getattr(packet, func._overloadname, None)
    same = found is not None and _argument_types(found) == _argument_types(func)
    return found if same else None


def _argument_types(func: Any) -> list[str]:
    return [str(argument.type) for argument in func._schema.arguments]


def _without_repeats(operations: Iterable[Operation]) -> tuple[list[Operation], dict[Ref, Ref]]:
    """Without operations whose value has a name already, and which name stands for which."""
    kept: dict[Any, Operation] = {}
    renamed: dict[Ref, Ref] = {}
    transposed: dict[Ref, Ref] = {}
    for original in operations:
        operation = _rename(original, renamed)
        what, results = operation[:3], [name or Ref("") for name in operation.results]
        if what in kept:
            renamed.update(_pairs(results, kept[what].results))
        elif operation.func in _RENAMES:
            renamed[results[0]] = operation.args[0]
        elif operation.func is aten.t.default and operation.args[0] in transposed:
            renamed[results[0]] = transposed[operation.args[0]]  # t(t(a)) is a
        else:
            kept[what] = operation
            if operation.func is aten.t.default:
                transposed[results[0]] = operation.args[0]
    return list(kept.values()), renamed


def _pairs(names: Sequence[Ref], others: Sequence[Ref | None]) -> dict[Ref, Ref]:
    return {name: other for name, other in zip(names, others, strict=True) if other}


def _used(operations: Sequence[Operation], results: Iterable[Ref | None]) -> list[Operation]:
    """Only what leads to the results."""
    needed, kept = set(results), []
    for operation in reversed(operations):
        if needed & {name for name in operation.results if name}:
            kept.append(operation)
            needed |= set(operation.operands)
    return kept[::-1]


def _parted(
    operations: Iterable[Operation], weights: Iterable[Ref]
) -> tuple[list[Operation], list[Operation]]:
    """What depends on weights and constants alone, and the rest."""
    fixed, once, loop = set(weights), [], []
    for operation in operations:
        if set(operation.operands) <= fixed:
            once.append(operation)
            fixed.update(name for name in operation.results if name)
        else:
            loop.append(operation)
    return once, loop


# Operations on a sum over rows that give the same before the summing as after it.
_LINEAR = (aten.t.default, aten.view.default, aten.neg.default, aten.unsqueeze.default)


class _Sums:
    """Which results are sums over rows, t(a) b or a column sum, and what they are made of.

    Summed over steps, t(a_1) b_1 + t(a_2) b_2 is t(a) b with the rows of all steps stacked: one
    product instead of many. The operations get names of their own, `z0` and so on, for what is
    computed from stacked rows is not what a step has under the same name.
    """

    def __init__(self, operations: Sequence[Operation], fixed: set[Ref]) -> None:
        self.rows: list[Ref] = []
        self.operations: list[Operation] = []
        self._fixed = fixed
        self._makers = {name: op for op in operations for name in op.results if name}
        self._found: dict[Ref, Ref | None] = {}

    def find(self, result: Ref) -> Ref | None:
        """The name of the result's sum over rows; None if it is not such a sum."""
        if result not in self._found:
            self._found[result] = self._sum(result)
        return self._found[result]

    def _sum(self, result: Ref) -> Ref | None:
        maker = self._makers.get(result)
        if maker is None:
            return None
        if maker.func is aten.sum.dim_IntList and maker.args[1] == (0,):
            return self._add(maker, {maker.args[0]: self._row(maker.args[0])})
        left = self._makers.get(maker.args[0]) if maker.func is aten.mm.default else None
        if left is not None and left.func is aten.t.default and maker.args[1] not in self._fixed:
            transposed = self._add(left, {left.args[0]: self._row(left.args[0])})
            return self._add(maker._replace(args=(transposed, self._row(maker.args[1]))), {})
        inner = self._linear_in(maker)
        summed = self.find(inner) if inner else None
        return self._add(maker, {inner: summed}) if inner and summed else None

    def _row(self, name: Ref) -> Ref:
        if name not in self.rows:
            self.rows.append(name)
        return name

    def _add(self, operation: Operation, renamed: dict[Ref, Ref]) -> Ref:
        name = Ref(f"z{len(self.operations)}")
        self.operations.append(_rename(operation, renamed)._replace(results=(name,)))
        return name

    def _linear_in(self, maker: Operation) -> Ref | None:
        """The operand in which an operation is linear, where it is in just one."""
        if maker.func in _LINEAR:
            return maker.args[0]
        if maker.func is aten.mul.Tensor:
            free = [name for name in maker.operands if name not in self._fixed]
            return free[0] if len(free) == 1 else None
        return None


def _rename(operation: Operation, names: dict[Ref, Ref]) -> Operation:
    return operation._replace(
        args=_map(operation.args, names), kwargs=_map(operation.kwargs, names)
    )


def _map(value: Any, names: dict[Ref, Ref]) -> Any:
    if isinstance(value, Ref):
        return names.get(value, value)
    return tuple(_map(item, names) for item in value) if isinstance(value, tuple) else value


def _all_names(operations: Sequence[Operation]) -> set[Ref]:
    return results_of(operations) | arguments_of(operations)


def _write(
    task: Task,
    columns: tuple[Sequence[Operation], ...],
    early: Sequence[Ref | None],
    ends: Sequence[Ref | None],
    late: tuple[int, ...],
    rows: Sequence[Ref],
) -> Program:
    once, drawn, loop, after = columns
    taken = arguments_of(loop) | arguments_of(after) | {name for name in early if name}
    values = sorted(({*task.weights} | results_of(once)) & taken)
    made = sorted(({*task.draws} | results_of(drawn)) & taken)
    script = Script()
    script.function("once", task.weights, once, values)
    script.function("step", (*_in_place_of(task, made), *values), loop, early)
    script.function("after", (*rows, *values), after, ends)
    draw, source = _drawing(task.draws, tuple(_used(drawn, made)), tuple(made))
    functions = script.run()
    step, sums = functions["step"], functions["after"]
    return Program(functions["once"], draw, step, sums, late, f"{source}\n\n{script.source}")


@functools.lru_cache(maxsize=256)
def _drawing(
    draws: tuple[Ref, ...], operations: tuple[Operation, ...], made: tuple[Ref, ...]
) -> tuple[Callable[..., tuple], str]:
    """One and the same function for a step and its way back, so that its results serve both."""
    script = Script()
    script.function("drawn", draws, operations, made)
    return script.run()["drawn"], script.source


def _in_place_of(task: Task, made: Sequence[Ref]) -> list[Ref]:
    """A step's arguments, with what is made of draws where those were."""
    if not task.draws:
        return list(task.arguments)
    place = task.arguments.index(task.draws[0])
    return [*task.arguments[:place], *made, *task.arguments[place + len(task.draws) :]]
