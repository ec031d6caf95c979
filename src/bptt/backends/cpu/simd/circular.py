"""sin and cos in multiply-adds, for machines that fuse them.

`x = n pi/2 + r` with n the whole number nearest to `x / (pi/2)`. The products of n and the parts of
pi/2 are not rounded before they are taken from x, so that r is right where x is almost a multiple
(Cody & Waite, 1980). If one of a vector's numbers is too large for that, all go to the C library.
Errors in units in the last place, as in `exponential`: 1.6.
"""

from collections.abc import Callable

from llvmlite import ir

from bptt.backends.cpu.simd.coefficients import COS, SIN
from bptt.backends.cpu.simd.powers import nearest, polynomial
from bptt.backends.cpu.simd.vector import Mask, Numbers, Value, Whole, call, fma

SMALL = {32: 2.0**-13, 64: 2.0**-27}  # below, sin(x) is x, and keeps the sign of 0
LARGE = {32: 1e5, 64: 1e9}
# pi/2 in three parts, each rounded to the number of bits of a mantissa.
PARTS = {
    32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}


def sin(x: Numbers) -> Numbers:
    """The sine."""
    small = abs(x) < SMALL[x.shape.bits]
    return _near_or_far(x, "sin", lambda: small.where(x, _quarter(x, 0)))


def cos(x: Numbers) -> Numbers:
    """The cosine: a sine a quarter of a turn ahead."""
    return _near_or_far(x, "cos", lambda: _quarter(x, 1))


def _near_or_far(x: Numbers, name: str, formula: Callable[[], Numbers]) -> Numbers:
    """The formula, or the C library if a number is large."""
    if not x.shape.fused:
        return x.libm(name)
    builder = x.builder
    with builder.if_else(_any(abs(x) > LARGE[x.shape.bits])) as (then, otherwise):
        with then:
            far, from_far = x.libm(name), builder.block
        with otherwise:
            near, from_near = formula(), builder.block
    found = builder.phi(x.shape.vector)
    found.add_incoming(far.value, from_far)
    found.add_incoming(near.value, from_near)
    return Numbers(x.shape, builder, found)


def _any(mask: Mask) -> Value:
    kind = ir.FunctionType(ir.IntType(1), [mask.shape.mask])
    return call(mask.builder, f"llvm.vector.reduce.or.v{mask.shape.lanes}i1", kind, [mask.value])


def _quarter(x: Numbers, ahead: int) -> Numbers:
    """The sine of `x + ahead pi/2`."""
    whole, r = nearest(x, 1 / PARTS[64][0]), x
    for part in PARTS[x.shape.bits]:
        r = fma(whole.n, -part, r)
    z = r * r
    sine = fma(r * z, polynomial(z, z * z, SIN[x.shape.bits]), r)
    cosine = fma(z * z, polynomial(z, z * z, COS[x.shape.bits]), fma(z, -0.5, 1.0))
    turns = whole.bits + ahead
    odd = (turns << (x.shape.bits - 1)) < 0
    return _negative_if_second(odd.where(cosine, sine), turns)


def _negative_if_second(x: Numbers, turns: Whole) -> Numbers:
    """-x in the third and fourth quarter of a turn."""
    return (x.as_bits() ^ ((turns & 2) << (x.shape.bits - 2))).as_bits()
