"""Vectors of numbers as LLVM sees them: Python's operators on them emit instructions.

`Numbers` and `Mask` hold a value of the function that is being written. What they emit never fuses
a product with a sum by itself (`fma` does), so that the same formula gives the same bits wherever
it stands.
"""

from typing import Any, NamedTuple

from llvmlite import ir

Value = Any  # of LLVM's language: llvmlite says nothing of its types
LANE = ir.IntType(32)  # the type of a lane's number


class Shape(NamedTuple):
    """The vectors of one kernel.

    Attributes:
        bits: of a number, 32 or 64.
        lanes: numbers in a vector.
        fused: whether a multiply-add is one instruction.
        scales: whether the machine multiplies by powers of two (AVX-512's `scalef`).
    """

    bits: int
    lanes: int
    fused: bool
    scales: bool = False

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return self.bits // 8

    @property
    def element(self) -> ir.Type:
        """One number."""
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @property
    def vector(self) -> ir.VectorType:
        """Numbers."""
        return ir.VectorType(self.element, self.lanes)

    @property
    def whole(self) -> ir.VectorType:
        """Integers as wide as the numbers."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def mask(self) -> ir.VectorType:
        """Truth values."""
        return ir.VectorType(ir.IntType(1), self.lanes)

    def kind(self, lanes_type: ir.Type) -> str:
        """The name of a vector type as LLVM's intrinsics spell it."""
        return f"v{self.lanes}{'i' if lanes_type == self.whole else 'f'}{self.bits}"


class Lanes:
    """A vector in the function that is being written."""

    def __init__(self, shape: Shape, builder: ir.IRBuilder, value: Value) -> None:
        self.shape, self.builder, self.value = shape, builder, value

    def _same(self, value: Value):
        return type(self)(self.shape, self.builder, value)


class Mask(Lanes):
    """Truth values."""

    def __and__(self, other: "Mask") -> "Mask":
        return self._same(self.builder.and_(self.value, other.value))

    def __or__(self, other: "Mask") -> "Mask":
        return self._same(self.builder.or_(self.value, other.value))

    def __xor__(self, other: "Mask") -> "Mask":
        return self._same(self.builder.xor(self.value, other.value))

    def __invert__(self) -> "Mask":
        ones = ir.Constant(self.shape.mask, [1] * self.shape.lanes)
        return self._same(self.builder.xor(self.value, ones))

    def where(self, yes: "Numbers | float", no: "Numbers | float") -> "Numbers":
        """`yes` where this is true, else `no`."""
        a, b = (numbers(self, x) for x in (yes, no))
        return Numbers(self.shape, self.builder, self.builder.select(self.value, a.value, b.value))


class Whole(Lanes):
    """Integers as wide as the numbers."""

    def _other(self, other: "Whole | int") -> Value:
        if isinstance(other, Whole):
            return other.value
        one = ir.Constant(self.shape.whole.element, other)
        return ir.Constant(self.shape.whole, [one] * self.shape.lanes)

    def __add__(self, other: "Whole | int") -> "Whole":
        return self._same(self.builder.add(self.value, self._other(other)))

    def __sub__(self, other: "Whole | int") -> "Whole":
        return self._same(self.builder.sub(self.value, self._other(other)))

    def __and__(self, other: "Whole | int") -> "Whole":
        return self._same(self.builder.and_(self.value, self._other(other)))

    def __or__(self, other: "Whole | int") -> "Whole":
        return self._same(self.builder.or_(self.value, self._other(other)))

    def __xor__(self, other: "Whole | int") -> "Whole":
        return self._same(self.builder.xor(self.value, self._other(other)))

    def __lshift__(self, count: int) -> "Whole":
        return self._same(self.builder.shl(self.value, self._other(count)))

    def __rshift__(self, count: int) -> "Whole":
        return self._same(self.builder.ashr(self.value, self._other(count)))

    def __lt__(self, other: "Whole | int") -> Mask:
        found = self.builder.icmp_signed("<", self.value, self._other(other))
        return Mask(self.shape, self.builder, found)

    def as_bits(self) -> "Numbers":
        """The numbers of the same bits."""
        found = self.builder.bitcast(self.value, self.shape.vector)
        return Numbers(self.shape, self.builder, found)

    def as_values(self) -> "Numbers":
        """The numbers of the same values."""
        found = self.builder.sitofp(self.value, self.shape.vector)
        return Numbers(self.shape, self.builder, found)


class Numbers(Lanes):
    """Floating-point numbers."""

    def _binary(self, method: str, other: "Numbers | float") -> "Numbers":
        return self._same(getattr(self.builder, method)(self.value, numbers(self, other).value))

    def __add__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fadd", other)

    def __sub__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fsub", other)

    def __mul__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fmul", other)

    def __truediv__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fdiv", other)

    def __radd__(self, other: float) -> "Numbers":
        return numbers(self, other) + self

    def __rsub__(self, other: float) -> "Numbers":
        return numbers(self, other) - self

    def __rmul__(self, other: float) -> "Numbers":
        return numbers(self, other) * self

    def __rtruediv__(self, other: float) -> "Numbers":
        return numbers(self, other) / self

    def __neg__(self) -> "Numbers":
        return self._same(self.builder.fneg(self.value))

    def __abs__(self) -> "Numbers":
        return self.llvm("fabs")

    def _compare(self, how: str, other: "Numbers | float") -> Mask:
        compare = self.builder.fcmp_unordered if how == "!=" else self.builder.fcmp_ordered
        found = compare(how, self.value, numbers(self, other).value)
        return Mask(self.shape, self.builder, found)

    def __lt__(self, other: "Numbers | float") -> Mask:
        return self._compare("<", other)

    def __le__(self, other: "Numbers | float") -> Mask:
        return self._compare("<=", other)

    def __gt__(self, other: "Numbers | float") -> Mask:
        return self._compare(">", other)

    def __ge__(self, other: "Numbers | float") -> Mask:
        return self._compare(">=", other)

    def equals(self, other: "Numbers | float") -> Mask:
        """Where both are the same; NaN is never."""
        return self._compare("==", other)

    def differs(self, other: "Numbers | float") -> Mask:
        """Where they are not the same; NaN always is."""
        return self._compare("!=", other)

    def is_nan(self) -> Mask:
        """Where this is NaN."""
        return self.differs(self)

    def llvm(self, name: str, *others: "Numbers | float") -> "Numbers":
        """An LLVM intrinsic on vectors of one shape."""
        given = [self.value, *(numbers(self, other).value for other in others)]
        kind = ir.FunctionType(self.shape.vector, [self.shape.vector] * len(given))
        symbol = f"llvm.{name}.{self.shape.kind(self.shape.vector)}"
        return self._same(call(self.builder, symbol, kind, given))

    def libm(self, name: str, *others: "Numbers | float") -> "Numbers":
        """A function of the C library's mathematics, lane by lane."""
        given = [self.value, *(numbers(self, other).value for other in others)]
        kind = ir.FunctionType(self.shape.element, [self.shape.element] * len(given))
        symbol = name + ("f" if self.shape.bits == 32 else "")
        result = ir.Constant(self.shape.vector, ir.Undefined)
        for i in range(self.shape.lanes):
            one = [self.builder.extract_element(v, LANE(i)) for v in given]
            found = call(self.builder, symbol, kind, one)
            result = self.builder.insert_element(result, found, LANE(i))
        return self._same(result)

    def as_bits(self) -> Whole:
        """The integers of the same bits."""
        return Whole(self.shape, self.builder, self.builder.bitcast(self.value, self.shape.whole))

    def as_values(self) -> Whole:
        """The integers of the same values, towards zero; without meaning where they do not fit."""
        return Whole(self.shape, self.builder, self.builder.fptosi(self.value, self.shape.whole))


def numbers(near: Lanes, number: Numbers | float) -> Numbers:
    """A vector as it is, or a number in all lanes."""
    if isinstance(number, Numbers):
        return number
    one = ir.Constant(near.shape.element, float(number))
    constant = ir.Constant(near.shape.vector, [one] * near.shape.lanes)
    return Numbers(near.shape, near.builder, constant)


def call(builder: ir.IRBuilder, name: str, kind: ir.FunctionType, given: list) -> Value:
    """Calls a function by its name, which is declared at its first use in a module."""
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, given)


def fma(a: Numbers, b: Numbers | float, c: Numbers | float) -> Numbers:
    """`a * b + c`, with one rounding where the machine has an instruction for it, else two."""
    return a.llvm("fma" if a.shape.fused else "fmuladd", b, c)
