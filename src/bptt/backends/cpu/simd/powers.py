"""Powers of two, reciprocals and polynomials: the steps that formulas share.

A number x times a constant is split into a whole number n and what is left. n is found by adding
1.5 * 2**23 (2**52 for 64 bits), which leaves no bits for fractions; the sum's lowest bits are n.
"""

from typing import NamedTuple

from llvmlite import ir

from bptt.backends.cpu.simd.vector import LANE, Numbers, Shape, Whole, call, fma, numbers

MANTISSA = {32: 23, 64: 52}  # bits behind the point
ROUND = {32: 1.5 * 2**23, 64: 1.5 * 2**52}


class Exponent(NamedTuple):
    """A whole number n, as a number and in the lowest bits of integers."""

    n: Numbers
    bits: Whole


def nearest(x: Numbers, scale: float) -> Exponent:
    """The whole number nearest to `x * scale`, which is less than 2**22."""
    shift = ROUND[x.shape.bits]
    moved = fma(x, scale, shift)
    return Exponent(moved - shift, moved.as_bits())


def times_power(x: Numbers, of: Exponent) -> Numbers:
    """`x * 2**n`, rounded once, for any n that a number can be multiplied by."""
    if x.shape.scales:
        return _scalef(x, of.n)
    whole = of.bits - numbers(x, ROUND[x.shape.bits]).as_bits()
    half = whole >> 1
    return x * _power(x.shape, half) * _power(x.shape, whole - half)


def power(of: Exponent) -> Numbers:
    """`2**n`, where that is neither too large nor too small for a number's full precision."""
    return _scalef(numbers(of.n, 1.0), of.n) if of.n.shape.scales else _power(of.n.shape, of.bits)


def _power(shape: Shape, n: Whole) -> Numbers:
    """`2**n` for n in the lowest bits: what is above them falls out."""
    return ((n << MANTISSA[shape.bits]) + numbers(n, 1.0).as_bits()).as_bits()


def _scalef(x: Numbers, n: Numbers) -> Numbers:
    """AVX-512's instruction for `x * 2**n`."""
    shape = x.shape
    flags = ir.IntType(max(8, shape.lanes))
    kind = ir.FunctionType(shape.vector, [*[shape.vector] * 3, flags, LANE])
    given = [x.value, n.value, x.value, flags(-1), LANE(4)]
    name = f"llvm.x86.avx512.mask.scalef.{_suffix(shape)}"
    return Numbers(shape, x.builder, call(x.builder, name, kind, given))


def _suffix(shape: Shape) -> str:
    return "ps.512" if shape.bits == 32 else "pd.512"


def ratio(h: Numbers) -> Numbers:
    """`h / (1 + h)` for h >= 0, as if `1 + h` were not rounded."""
    below = h + 1.0
    if not h.shape.fused:
        return _ratio_in_parts(h, below)
    inverse = _inverse(below)
    found = h * inverse
    return fma(fma(-h, found, h - found), inverse, found)


def _ratio_in_parts(h: Numbers, below: Numbers) -> Numbers:
    """Makes up for the rounding of `below = 1 + h` (Knuth's sum of two) to first order."""
    one = below - h
    lost = (1.0 - one) + (h - (below - one))
    found = h / below
    return found - found * (1.0 - found) * lost


def _inverse(x: Numbers) -> Numbers:
    """About `1 / x`: AVX-512's estimate is right to 14 bits, a step of Newton's doubles them."""
    shape = x.shape
    if not shape.scales:
        return 1.0 / x
    flags = ir.IntType(max(8, shape.lanes))
    kind = ir.FunctionType(shape.vector, [shape.vector, shape.vector, flags])
    given = [x.value, numbers(x, 0.0).value, flags(-1)]
    name = f"llvm.x86.avx512.rcp14.{_suffix(shape)}"
    found = Numbers(shape, x.builder, call(x.builder, name, kind, given))
    return found if shape.bits == 32 else fma(found, fma(-x, found, 1.0), found)


def polynomial(x: Numbers, square: Numbers, coefficients: tuple[float, ...]) -> Numbers:
    """`c0 + c1 x + c2 x**2 + ...`; odd and even powers apart, to wait half as long."""
    odd, even = _horner(square, coefficients[1::2]), _horner(square, coefficients[::2])
    return fma(odd, x, even)


def _horner(x: Numbers, coefficients: tuple[float, ...]) -> Numbers:
    found = numbers(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        found = fma(found, x, c)
    return found


def at_most(x: Numbers, bound: float) -> Numbers:
    """The smaller of both, NaN where x is."""
    return (x > bound).where(bound, x)


def at_least(x: Numbers, bound: float) -> Numbers:
    """The larger of both, NaN where x is."""
    return (x < bound).where(bound, x)
