"""Vectors of numbers as LLVM sees them: what Python's operators say is emitted as instructions."""

from typing import NamedTuple

from llvmlite import ir

Operand = "Numbers | Mask | float"


class Shape(NamedTuple):
    """The vectors of one kernel.

    Attributes:
        real: `"float32"` or `"float64"`.
        lanes: numbers in a vector.
        fused: whether a multiply-add is one instruction.
    """

    real: str
    lanes: int
    fused: bool

    @property
    def bits(self) -> int:
        """Bits of a number."""
        return 32 if self.real == "float32" else 64

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


class _Lanes:
    """A vector value in the function being emitted."""

    def __init__(self, shape: Shape, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.shape, self.builder, self.value = shape, builder, value


class Mask(_Lanes):
    """Truth values."""

    def __and__(self, other: "Mask") -> "Mask":
        return Mask(self.shape, self.builder, self.builder.and_(self.value, other.value))

    def __or__(self, other: "Mask") -> "Mask":
        return Mask(self.shape, self.builder, self.builder.or_(self.value, other.value))

    def __xor__(self, other: "Mask") -> "Mask":
        return Mask(self.shape, self.builder, self.builder.xor(self.value, other.value))

    def __invert__(self) -> "Mask":
        return Mask(self.shape, self.builder, self.builder.not_(self.value))

    def where(self, yes: "Numbers", no: "Numbers | float") -> "Numbers":
        """`yes` where this is true, else `no`."""
        other = yes.like(no)
        return yes.made(self.builder.select(self.value, yes.value, other.value))


class Numbers(_Lanes):
    """Floating-point numbers."""

    def made(self, value: ir.Value) -> "Numbers":
        """Another vector of this shape."""
        return Numbers(self.shape, self.builder, value)

    def like(self, number: "Numbers | float") -> "Numbers":
        """A vector, or a number in all lanes."""
        if isinstance(number, Numbers):
            return number
        constant = ir.Constant(self.shape.element, float(number))
        return self.made(ir.Constant(self.shape.vector, [constant] * self.shape.lanes))

    def _binary(self, method: str, other: "Numbers | float") -> "Numbers":
        return self.made(getattr(self.builder, method)(self.value, self.like(other).value))

    def __add__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fadd", other)

    def __sub__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fsub", other)

    def __mul__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fmul", other)

    def __truediv__(self, other: "Numbers | float") -> "Numbers":
        return self._binary("fdiv", other)

    def __radd__(self, other: float) -> "Numbers":
        return self.like(other) + self

    def __rsub__(self, other: float) -> "Numbers":
        return self.like(other) - self

    def __rmul__(self, other: float) -> "Numbers":
        return self.like(other) * self

    def __rtruediv__(self, other: float) -> "Numbers":
        return self.like(other) / self

    def __neg__(self) -> "Numbers":
        return self.made(self.builder.fneg(self.value))

    def _compare(self, how: str, other: "Numbers | float") -> Mask:
        compare = self.builder.fcmp_unordered if how == "!=" else self.builder.fcmp_ordered
        return Mask(self.shape, self.builder, compare(how, self.value, self.like(other).value))

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
        """Where they are not the same; NaN always."""
        return self._compare("!=", other)

    def is_nan(self) -> Mask:
        """Where this is NaN."""
        return self.differs(self)

    def llvm(self, name: str, *others: "Numbers | float") -> "Numbers":
        """An LLVM intrinsic on vectors of one shape."""
        given = [self.value, *(self.like(other).value for other in others)]
        kind = ir.FunctionType(self.shape.vector, [self.shape.vector] * len(given))
        suffix = f"v{self.shape.lanes}f{self.shape.bits}"
        return self.made(call(self.builder, f"llvm.{name}.{suffix}", kind, given))

    def by_lane(self, name: str, *others: "Numbers | float") -> "Numbers":
        """A function of the C library, lane by lane."""
        given = [self.value, *(self.like(other).value for other in others)]
        element, builder = self.shape.element, self.builder
        kind = ir.FunctionType(element, [element] * len(given))
        result = ir.Constant(self.shape.vector, ir.Undefined)
        symbol = name + ("f" if self.shape.bits == 32 else "")
        for i in range(self.shape.lanes):
            lane = ir.Constant(ir.IntType(32), i)
            one = call(builder, symbol, kind, [builder.extract_element(v, lane) for v in given])
            result = builder.insert_element(result, one, lane)
        return self.made(result)

    def bits(self) -> ir.Value:
        """The same bits as integers."""
        return self.builder.bitcast(self.value, self.shape.whole)


def call(builder: ir.IRBuilder, name: str, kind: ir.FunctionType, given: list) -> ir.Value:
    """Calls a function by its name, which is declared at its first use in a module."""
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, given)


def fma(a: Numbers, b: Numbers | float, c: Numbers | float) -> Numbers:
    """`a * b + c`: one rounding where the machine has it in one instruction, else two."""
    return a.llvm("fma" if a.shape.fused else "fmuladd", b, c)
