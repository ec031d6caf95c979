"""The error function.

For 32 bits `x + x P(x**2)` where |x| < 1 and `1 - exp(Q(|x|))` beyond, with the sign of x, off by
at most 1.3 units in the last place. For 64 bits it is the C library's.
"""

from bptt.backends.cpu.simd.coefficients import ERF, ERFC
from bptt.backends.cpu.simd.exponential import exp
from bptt.backends.cpu.simd.powers import at_most, polynomial
from bptt.backends.cpu.simd.vector import Numbers, fma


def erf(x: Numbers) -> Numbers:
    """Twice the normal distribution's mass between 0 and `x sqrt 2`."""
    if x.shape.bits == 64:
        return x.libm("erf")
    a, square = at_most(abs(x), 4.0), x * x
    near = fma(x, polynomial(square, square * square, ERF[32]), x)
    far = 1.0 - exp(polynomial(a, a * a, ERFC[32]))
    return (a < 1.0).where(near, far.llvm("copysign", x))
