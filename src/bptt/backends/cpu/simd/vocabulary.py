"""The words of a kernel's source: what each emits for vectors of one shape.

    integer(address, i)            the int64 at place i
    element(address, i)            the number at place i
    put(address, i, x)             stores the number x there
    load(address, i)               a vector of the numbers from place i on; store(address, i, v)
    load_part(address, i, n)       its first n lanes, zeros in the others; n is 1 to LANES
    store_part(address, i, v, n)   stores its first n lanes
    turn(target, jump, address, step)  a square of LANES rows `step` numbers apart, stored with its
                                   columns as rows `jump` numbers apart
    fetch(address, i)              asks for place i to be brought near; nothing happens if none is
    spread(address, i)             the number at place i in all lanes
    splat(x)                       the number x in all lanes
    fma(a, b, c)                   a * b + c
    total(v), largest(v)           one number: the sum, or the largest (NaN if there is one)
    number(mask), mask(v)          1 where true and 0 elsewhere; true where v is not 0
    claim(address, i)              adds 1 to the int64 at place i, for all threads at once, and
                                   gives what it was
    propose(address, i, n)         stores the int64 n at place i if 0 is there, of all threads one
    call(address, block)           calls the function at an address
    ask(address)                   what the function at an address says, which takes nothing and
                                   returns an int
    seen(address, i)               the int64 at place i as other threads left it, and with it all
                                   that they stored before their `claim` of it
    pause()                        tells the processor that this thread waits for another
    flush(address, i)              from here on this thread takes numbers too small for full
                                   precision for 0; how it was before is kept in the int64 there
    restore(address, i)            as it was before

and every operation of a stage. Addresses are integers, in bytes; places count numbers from them.
"""

from llvmlite import ir

from bptt.backends.cpu.simd.control import Control, pause
from bptt.backends.cpu.simd.operations import OPERATIONS
from bptt.backends.cpu.simd.vector import (
    LANE,
    Lanes,
    Mask,
    Numbers,
    Shape,
    Value,
    call,
    fma,
    numbers,
)

INTEGER, TRUTH = ir.IntType(64), ir.IntType(1)


class Words:
    """What the words emit, into one function.

    Args:
        shape: of the vectors.
        builder: where instructions go.
    """

    def __init__(self, shape: Shape, builder: ir.IRBuilder) -> None:
        self.shape, self.builder = shape, builder

    def __call__(self, name: str, given: list[Value]) -> Value | None:
        """Emits a word.

        Raises:
            TypeError: if its arguments are not what it takes.
        """
        if name in OPERATIONS:
            return OPERATIONS[name](*(self._lanes(value) for value in given)).value
        return getattr(self, name)(*given)

    def _lanes(self, value: Value) -> Lanes:
        if value.type == self.shape.mask:
            return Mask(self.shape, self.builder, value)
        if value.type == self.shape.vector:
            return Numbers(self.shape, self.builder, value)
        raise TypeError(f"expected a vector, got {value.type}; a number becomes one by splat")

    def _place(self, address: Value, i: Value, kind: ir.Type) -> Value:
        """A pointer to place i, where something of `kind` lies."""
        unit = INTEGER if kind == INTEGER else self.shape.element
        first = self.builder.inttoptr(address, unit.as_pointer())
        return self.builder.bitcast(self.builder.gep(first, [i]), kind.as_pointer())

    def integer(self, address: Value, i: Value) -> Value:
        return self.builder.load(self._place(address, i, INTEGER), align=8)

    def claim(self, address: Value, i: Value) -> Value:
        place = self._place(address, i, INTEGER)
        return self.builder.atomic_rmw("add", place, INTEGER(1), "acq_rel")

    def propose(self, address: Value, i: Value, n: Value) -> None:
        place = self._place(address, i, INTEGER)
        self.builder.cmpxchg(place, INTEGER(0), n, "acq_rel", "acquire")

    def seen(self, address: Value, i: Value) -> Value:
        return self.builder.load_atomic(self._place(address, i, INTEGER), "acquire", align=8)

    def call(self, address: Value, block: Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [INTEGER])
        self.builder.call(self.builder.inttoptr(address, kind.as_pointer()), [block])

    def ask(self, address: Value) -> Value:
        kind = ir.FunctionType(LANE, [])
        answer = self.builder.call(self.builder.inttoptr(address, kind.as_pointer()), [])
        return self.builder.sext(answer, INTEGER)

    def pause(self) -> None:
        pause(self.builder)

    def element(self, address: Value, i: Value) -> Value:
        return self.builder.load(self._place(address, i, self.shape.element), align=self.shape.size)

    def put(self, address: Value, i: Value, x: Value) -> None:
        self.builder.store(x, self._place(address, i, self.shape.element), align=self.shape.size)

    def load(self, address: Value, i: Value) -> Value:
        return self.builder.load(self._place(address, i, self.shape.vector), align=self.shape.size)

    def store(self, address: Value, i: Value, v: Value) -> None:
        self.builder.store(v, self._place(address, i, self.shape.vector), align=self.shape.size)

    def _first(self, n: Value) -> Value:
        """Whether a lane is among the first n."""
        kind = ir.VectorType(LANE, self.shape.lanes)
        places = ir.Constant(kind, [LANE(i) for i in range(self.shape.lanes)])
        return self.builder.icmp_signed("<", places, self._everywhere(self._lane(n), kind))

    def _lane(self, n: Value) -> Value:
        return LANE(n.constant) if isinstance(n, ir.Constant) else self.builder.trunc(n, LANE)

    def _masked(self, way: str, result: ir.Type, given: list[Value]) -> Value:
        kind = ir.FunctionType(result, [value.type for value in given])
        name = f"llvm.masked.{way}.{self.shape.kind(self.shape.vector)}.p0"
        return call(self.builder, name, kind, given)

    def load_part(self, address: Value, i: Value, n: Value) -> Value:
        shape, place = self.shape, self._place(address, i, self.shape.vector)
        zeros = ir.Constant(shape.vector, None)
        return self._masked("load", shape.vector, [place, LANE(shape.size), self._first(n), zeros])

    def store_part(self, address: Value, i: Value, v: Value, n: Value) -> None:
        place = self._place(address, i, self.shape.vector)
        given = [v, place, LANE(self.shape.size), self._first(n)]
        self._masked("store", ir.VoidType(), given)

    def turn(self, target: Value, jump: Value, address: Value, step: Value) -> None:
        """Off-diagonal quarters change places, in squares half as large each time."""
        builder, lanes = self.builder, self.shape.lanes
        rows = [self.load(address, builder.mul(step, INTEGER(i))) for i in range(lanes)]
        half = lanes // 2
        while half:
            for i in (i for i in range(lanes) if not i & half):
                a, b = rows[i], rows[i + half]
                places = [(j, j + lanes - half)[j & half > 0] for j in range(lanes)]
                rows[i] = self._pick(a, b, places)
                rows[i + half] = self._pick(a, b, [place + half for place in places])
            half //= 2
        for i, row in enumerate(rows):
            self.store(target, builder.mul(jump, INTEGER(i)), row)

    def _pick(self, a: Value, b: Value, places: list[int]) -> Value:
        """Lanes of two vectors, those of the second counted on from the first."""
        kind = ir.VectorType(LANE, len(places))
        return self.builder.shuffle_vector(a, b, ir.Constant(kind, [LANE(i) for i in places]))

    def fetch(self, address: Value, i: Value) -> None:
        place = self._place(address, i, ir.IntType(8))
        given = [place, LANE(0), LANE(2), LANE(1)]  # to read, into the second cache, data
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        call(self.builder, "llvm.prefetch.p0", kind, given)

    def flush(self, address: Value, i: Value) -> None:
        control = Control.here(self.builder, self._place(address, i, INTEGER))
        if control is not None:
            control.flush()

    def restore(self, address: Value, i: Value) -> None:
        control = Control.here(self.builder, self._place(address, i, INTEGER))
        if control is not None:
            control.restore()

    def _everywhere(self, one: Value, kind: ir.VectorType) -> Value:
        if isinstance(one, ir.Constant):
            return ir.Constant(kind, [one] * kind.count)
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, one, LANE(0))
        return self.builder.shuffle_vector(
            first, empty, ir.Constant(ir.VectorType(LANE, kind.count), None)
        )

    def splat(self, x: Value) -> Value:
        return self._everywhere(x, self.shape.vector)

    def spread(self, address: Value, i: Value) -> Value:
        return self.splat(self.element(address, i))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        a, b, c = (Numbers(self.shape, self.builder, value) for value in (a, b, c))
        return fma(a, b, c).value

    def total(self, v: Value) -> Value:
        """Halves are added until one lane is left."""
        lanes = self.shape.lanes
        while lanes > 1:
            lanes //= 2
            halves = [[LANE(first + i) for i in range(lanes)] for first in (0, lanes)]
            kind = ir.VectorType(LANE, lanes)
            low, high = (
                self.builder.shuffle_vector(v, v, ir.Constant(kind, half)) for half in halves
            )
            v = self.builder.fadd(low, high)
        return self.builder.extract_element(v, LANE(0))

    def largest(self, v: Value) -> Value:
        name = f"llvm.vector.reduce.fmaximum.{self.shape.kind(self.shape.vector)}"
        return call(self.builder, name, ir.FunctionType(self.shape.element, [v.type]), [v])

    def number(self, mask: Value) -> Value:
        return self.builder.uitofp(mask, self.shape.vector)

    def mask(self, v: Value) -> Value:
        lanes = Numbers(self.shape, self.builder, v)
        return lanes.differs(numbers(lanes, 0.0)).value


WORDS = frozenset(name for name in vars(Words) if not name.startswith("_")) | set(OPERATIONS)
