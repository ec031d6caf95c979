"""The names that a kernel's source may use, as Numba knows them.

Each is an intrinsic: Numba sees only its signature and the instructions come from `operations`, so
that there is next to nothing to type.
"""

import functools
import operator
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from bptt.backends.cpu.simd.operations import OPERATIONS
from bptt.backends.cpu.simd.vector import Mask, Numbers, Shape, call, fma

BYTE, INDEX = ir.IntType(32), ir.IntType(64)


class LanesType(types.Type):
    """A vector of numbers or truth values in Numba's eyes."""

    def __init__(self, shape: Shape, is_mask: bool) -> None:
        self.shape, self.is_mask = shape, is_mask
        super().__init__(name=f"{'mask' if is_mask else 'vector'}{shape.bits}x{shape.lanes}")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind: LanesType) -> None:
        super().__init__(manager, kind, kind.shape.mask if kind.is_mask else kind.shape.vector)


def _splat(shape: Shape, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    empty = ir.Constant(shape.vector, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(BYTE, 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(BYTE, shape.lanes), None))


def _cast(shape: Shape, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A scalar of another type as one of the kernel's."""
    if isinstance(value.type, ir.IntType):
        return builder.sitofp(value, shape.element)
    if value.type == shape.element:
        return value
    cast = builder.fptrunc if shape.bits == 32 else builder.fpext
    return cast(value, shape.element)


def _operand(shape: Shape, builder: ir.IRBuilder, kind: types.Type, value: ir.Value):
    """What Numba passes, as what operations take."""
    if not isinstance(kind, LanesType):
        return Numbers(shape, builder, _splat(shape, builder, _cast(shape, builder, value)))
    return (Mask if kind.is_mask else Numbers)(shape, builder, value)


_SIGNATURES = {
    0: lambda f: lambda typing: f(),
    1: lambda f: lambda typing, a: f(a),
    2: lambda f: lambda typing, a, b: f(a, b),
    3: lambda f: lambda typing, a, b, c: f(a, b, c),
    4: lambda f: lambda typing, a, b, c, d: f(a, b, c, d),
}


def _intrinsic(name: str, result: types.Type, given: tuple, emit: Callable):
    """A function of a kernel's source.

    Args:
        name: for messages.
        result: its type.
        given: the types of its arguments; None leaves one as it comes.
        emit: `emit(builder, types, *values)` gives the value.
    """

    def typed(*kinds):
        kinds = tuple(want or kind for want, kind in zip(given, kinds, strict=True))

        def generate(context, builder, signature, values):
            found = emit(builder, signature.args, *values)
            return context.get_dummy_value() if found is None else found

        return result(*kinds), generate

    function = _SIGNATURES[len(given)](typed)
    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


class Vocabulary:
    """The functions for vectors of one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.numbers, self.mask = LanesType(shape, False), LanesType(shape, True)
        self.scalar = types.float32 if shape.bits == 32 else types.float64
        self.names = {"LANES": shape.lanes, "SIZE": shape.bits // 8}
        self._memory()
        self._lanes()
        for name, formula in OPERATIONS.items():
            self._operation(name, formula)
        self._operators()

    def _add(self, name: str, result: types.Type, given: tuple, emit: Callable) -> None:
        self.names[name] = _intrinsic(name, result, given, emit)

    def _place(self, builder: ir.IRBuilder, address: ir.Value, i: ir.Value, kind: ir.Type):
        first = builder.inttoptr(address, self.shape.element.as_pointer())
        return builder.bitcast(builder.gep(first, [i]), kind.as_pointer())

    def _memory(self) -> None:
        shape, size, i64 = self.shape, self.shape.bits // 8, types.intp

        def load(builder, kinds, address, i):
            return builder.load(self._place(builder, address, i, shape.vector), align=size)

        def store(builder, kinds, address, i, value):
            builder.store(value, self._place(builder, address, i, shape.vector), align=size)

        def element(builder, kinds, address, i):
            return builder.load(self._place(builder, address, i, shape.element))

        def put(builder, kinds, address, i, value):
            value = _cast(shape, builder, value)
            builder.store(value, self._place(builder, address, i, shape.element))

        def integer(builder, kinds, address, i):
            first = builder.inttoptr(address, INDEX.as_pointer())
            return builder.load(builder.gep(first, [i]))

        def claim(builder, kinds, address, i):
            place = builder.gep(builder.inttoptr(address, INDEX.as_pointer()), [i])
            return builder.atomic_rmw("add", place, ir.Constant(INDEX, 1), "monotonic")

        self._add("load", self.numbers, (i64, i64), load)
        self._add("store", types.void, (i64, i64, self.numbers), store)
        self._add("element", self.scalar, (i64, i64), element)
        self._add("put", types.void, (i64, i64, None), put)
        self._add("integer", i64, (i64, i64), integer)
        self._add("claim", i64, (i64, i64), claim)
        self._parts()

    def _first(self, builder: ir.IRBuilder, n: ir.Value) -> ir.Value:
        """The first n lanes."""
        kind = ir.VectorType(BYTE, self.shape.lanes)
        empty = ir.Constant(kind, ir.Undefined)
        one = builder.insert_element(empty, builder.trunc(n, BYTE), ir.Constant(BYTE, 0))
        many = builder.shuffle_vector(one, empty, ir.Constant(kind, None))
        return builder.icmp_unsigned("<", ir.Constant(kind, list(range(self.shape.lanes))), many)

    def _parts(self) -> None:
        shape, i64 = self.shape, types.intp
        align, suffix = ir.Constant(BYTE, shape.bits // 8), f"v{shape.lanes}f{shape.bits}.p0"
        pointer = shape.vector.as_pointer()

        def load_part(builder, kinds, address, i, n):
            place = self._place(builder, address, i, shape.vector)
            kind = ir.FunctionType(shape.vector, [pointer, BYTE, shape.mask, shape.vector])
            given = [place, align, self._first(builder, n), ir.Constant(shape.vector, None)]
            return call(builder, f"llvm.masked.load.{suffix}", kind, given)

        def store_part(builder, kinds, address, i, value, n):
            place = self._place(builder, address, i, shape.vector)
            kind = ir.FunctionType(ir.VoidType(), [shape.vector, pointer, BYTE, shape.mask])
            given = [value, place, align, self._first(builder, n)]
            call(builder, f"llvm.masked.store.{suffix}", kind, given)

        self._add("load_part", self.numbers, (i64, i64, i64), load_part)
        self._add("store_part", types.void, (i64, i64, self.numbers, i64), store_part)

    def _lanes(self) -> None:
        shape, i64 = self.shape, types.intp

        def spread(builder, kinds, address, i):
            return _splat(
                shape, builder, builder.load(self._place(builder, address, i, shape.element))
            )

        def splat(builder, kinds, x):
            return _splat(shape, builder, _cast(shape, builder, x))

        def fused(builder, kinds, *given):
            pairs = zip(kinds, given, strict=True)
            return fma(*(_operand(shape, builder, kind, value) for kind, value in pairs)).value

        def total(builder, kinds, v):
            kind = ir.FunctionType(shape.element, [shape.element, shape.vector])
            name = f"llvm.vector.reduce.fadd.v{shape.lanes}f{shape.bits}"
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            return builder.call(
                function, [ir.Constant(shape.element, -0.0), v], fastmath=["reassoc"]
            )

        def largest(builder, kinds, v):
            kind = ir.FunctionType(shape.element, [shape.vector])
            name = f"llvm.vector.reduce.fmaximum.v{shape.lanes}f{shape.bits}"
            return call(builder, name, kind, [v])

        def number(builder, kinds, m):
            return builder.uitofp(m, shape.vector)

        def mask(builder, kinds, v):
            return Numbers(shape, builder, v).differs(0.0).value

        self._add("spread", self.numbers, (i64, i64), spread)
        self._add("splat", self.numbers, (None,), splat)
        self._add("fma", self.numbers, (None, None, None), fused)
        self._add("total", self.scalar, (self.numbers,), total)
        self._add("largest", self.scalar, (self.numbers,), largest)
        self._add("number", self.numbers, (self.mask,), number)
        self._add("mask", self.mask, (self.numbers,), mask)

    def _emitter(self, formula: Callable) -> Callable:
        def emit(builder, kinds, *given):
            pairs = zip(kinds, given, strict=True)
            return formula(*(_operand(self.shape, builder, k, v) for k, v in pairs)).value

        return emit

    def _operation(self, name: str, formula: Callable) -> None:
        from bptt.compiler.stages import MASKS, OPERATIONS as COUNTS

        result = self.mask if name in MASKS else self.numbers
        self._add(name, result, (None,) * COUNTS[name], self._emitter(formula))

    def _operators(self) -> None:
        """The operators + - * / and unary -."""
        names = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "neg": "neg"}
        for symbol, name in names.items():
            _operator(getattr(operator, symbol), self, self._emitter(OPERATIONS[name]))


def _operator(symbol: Callable, vocabulary: Vocabulary, emit: Callable) -> None:
    numbers = vocabulary.numbers
    unary = symbol is operator.neg

    def result(*given):
        return numbers if numbers in given else None

    @type_callable(symbol)
    def typed(context):
        return (lambda a: result(a)) if unary else (lambda a, b: result(a, b))

    def lowered(context, builder, signature, given):
        return emit(builder, signature.args, *given)

    scalars = (types.Float, types.Integer)
    pairs = [(numbers,)] if unary else [(numbers, numbers)]
    if not unary:
        pairs += [(numbers, s) for s in scalars] + [(s, numbers) for s in scalars]
    for pair in pairs:
        lower_builtin(symbol, *pair)(lowered)


@functools.lru_cache(maxsize=None)
def vocabulary(shape: Shape) -> dict[str, object]:
    """The names for vectors of one shape."""
    return Vocabulary(shape).names
