"""log, log1p and log2 in multiply-adds.

A number is `2**e m` with m in [sqrt 1/2, sqrt 2), and `log m = 2 artanh(s)` with `f = m - 1` and
`s = f / (2 + f)`. It is summed as `f - (f**2 / 2 - s (f**2 / 2 + s**2 P(s**2)))`, so that little is
rounded near 1 (P. T. P. Tang, ACM Transactions on Mathematical Software 16, 1990, and the
arrangement that Sun's fdlibm made known). Errors in units in the last place, as in `exponential`:

    log 1.0    log1p 1.7    log2 1.8
"""

from bptt.backends.cpu.simd.coefficients import LOG
from bptt.backends.cpu.simd.powers import MANTISSA, polynomial
from bptt.backends.cpu.simd.vector import Numbers, Whole, fma, numbers

INFINITY = float("inf")
SMALLEST = {32: 2.0**-126, 64: 2.0**-1022}  # with full precision
LN2 = {32: (0.693359375, -2.12194440e-4), 64: (0.6931471803691238, 1.9082149292705877e-10)}
HUGE = 2.0**64  # nothing is lost beyond
LOG2E, HALF_ROOT = 1.4426950408889634, 0.7071067811865476


def _exponent(x: Numbers) -> Whole:
    """e, times a 1 in an exponent's lowest place: taken from x's bits, m is left."""
    bits = MANTISSA[x.shape.bits]
    return ((x.as_bits() - numbers(x, HALF_ROOT).as_bits()) >> bits) << bits


def _log_of_one_and(f: Numbers) -> Numbers:
    """`log(1 + f)` for `1 + f` in [sqrt 1/2, sqrt 2)."""
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    return f - (half - s * (half + z * polynomial(z, z * z, LOG[f.shape.bits])))


def _split(x: Numbers) -> tuple[Numbers, Numbers]:
    """e as numbers, and f."""
    bits, small = MANTISSA[x.shape.bits], x < SMALLEST[x.shape.bits]
    x = small.where(x * 2.0**bits, x)
    e = _exponent(x)
    shifted = small.where(float(-bits), numbers(x, 0.0))
    return (e >> bits).as_values() + shifted, (x.as_bits() - e).as_bits() - 1.0


def _edges(x: Numbers, found: Numbers, zero: float) -> Numbers:
    """Infinity at infinity, minus infinity at `zero`, NaN below it and for NaN."""
    found = (x < INFINITY).where(found, x)
    found = x.equals(zero).where(-INFINITY, found)
    return (x < zero).where(float("nan"), found)


def log(x: Numbers) -> Numbers:
    """The natural logarithm."""
    e, f = _split(x)
    high, low = LN2[x.shape.bits]
    return _edges(x, fma(e, high, fma(e, low, _log_of_one_and(f))), 0.0)


def log2(x: Numbers) -> Numbers:
    """The logarithm to base 2; whole numbers for powers of two."""
    e, f = _split(x)
    return _edges(x, fma(_log_of_one_and(f), LOG2E, e), 0.0)


def log1p(x: Numbers) -> Numbers:
    """`log(1 + x)`: what `u = 1 + x` loses in rounding is added to f, scaled as u is."""
    u = x + 1.0
    lost = (x < 1.0).where(x - (u - 1.0), 1.0 - (u - x))
    e = _exponent(u)
    scaled = lost * (numbers(x, 1.0).as_bits() - e).as_bits()
    f = ((u.as_bits() - e).as_bits() - 1.0) + (x < HUGE).where(scaled, 0.0)
    high, low = LN2[x.shape.bits]
    n = (e >> MANTISSA[x.shape.bits]).as_values()
    found = fma(n, high, fma(n, low, _log_of_one_and(f)))
    tiny = abs(x) < 2.0 ** -(MANTISSA[x.shape.bits] + 3)
    return tiny.where(x, _edges(x, found, -1.0))
