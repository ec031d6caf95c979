"""Fits the polynomials of `coefficients.py`: run `python -m bptt.backends.cpu.simd.fit`.

Remez's exchange (E. Remez, Comptes Rendus 198, 1934) in arithmetic of 60 digits: the polynomial
whose largest relative error in the function is smallest. Coefficients are then rounded to the
numbers of each dtype; the error printed beside them counts that rounding. Needs mpmath, which comes
with torch (by way of sympy).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp

mp.mp.dps = 60
BITS = {32: 24, 64: 53}  # of a number, to those of its mantissa
Function = Callable[[mp.mpf], mp.mpf]


class Fit(NamedTuple):
    """A function to approximate.

    Attributes:
        name: in `coefficients.py`.
        comment: what the polynomial is of, and where.
        function: to approximate.
        weight: of its error, such that the weighted error is what counts in the result.
        begin, end: the interval.
        terms: coefficients, by the bits of a number.
    """

    name: str
    comment: str
    function: Function
    weight: Function
    begin: mp.mpf
    end: mp.mpf
    terms: dict[int, int]


def _expm1(x: mp.mpf) -> mp.mpf:
    return (mp.expm1(x) - x) / x**2 if x else mp.mpf(1) / 2


def _log(z: mp.mpf) -> mp.mpf:
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) / s - 2) / z if z else mp.mpf(2) / 3


def _erf(z: mp.mpf) -> mp.mpf:
    x = mp.sqrt(z)
    return mp.erf(x) / x - 1 if x else 2 / mp.sqrt(mp.pi) - 1


def _sin(z: mp.mpf) -> mp.mpf:
    x = mp.sqrt(z)
    return (mp.sin(x) / x - 1) / z if z else -mp.mpf(1) / 6


def _cos(z: mp.mpf) -> mp.mpf:
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2 if z else mp.mpf(1) / 24


EIGHTH = (mp.pi / 4) ** 2
HALF = mp.log(2) / 2 * mp.mpf("1.0001")
FITS = (
    Fit("EXPM1", f"(expm1(r) - r) / r**2 in r, |r| <= {float(HALF):.4f}", _expm1,
        lambda r: abs(r) + mp.mpf(2) ** -40, -HALF, HALF, {32: 6, 64: 11}),
    Fit("LOG", "(log((1 + s) / (1 - s)) / s - 2) / s**2 in s**2, |s| <= 0.1716", _log,
        lambda z: z + mp.mpf(2) ** -40, mp.mpf(0), (3 - 2 * mp.sqrt(2)) ** 2, {32: 3, 64: 7}),
    Fit("SIN", "(sin(x) / x - 1) / x**2 in x**2, |x| <= pi / 4", _sin, lambda z: z,
        mp.mpf(2) ** -40, EIGHTH, {32: 3, 64: 6}),
    Fit("COS", "(cos(x) - 1 + x**2 / 2) / x**4 in x**2, |x| <= pi / 4", _cos, lambda z: z**2,
        mp.mpf(2) ** -40, EIGHTH, {32: 3, 64: 6}),
    Fit("ERF", "erf(x) / x - 1 in x**2, |x| <= 1", _erf,
        lambda z: 1 / (1 + _erf(z)), mp.mpf(0), mp.mpf(1), {32: 8}),
    Fit("ERFC", "log(erfc(x)) in x, 1 <= x <= 4", lambda x: mp.log(mp.erfc(x)),
        lambda x: mp.erfc(x) / mp.erf(x), mp.mpf(1), mp.mpf(4), {32: 9}),
)  # fmt: skip


def remez(fit: Fit, terms: int) -> list[mp.mpf]:
    """The coefficients of the best polynomial, lowest power first."""
    middle, reach = (fit.begin + fit.end) / 2, (fit.end - fit.begin) / 2
    points = [
        middle - reach * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / (terms + 1)) for i in range(terms + 1)
    ]
    grid = [
        middle - reach * mp.cos(mp.pi * mp.mpf(i) / (25 * terms)) for i in range(25 * terms + 1)
    ]
    known = [(x, fit.function(x), fit.weight(x)) for x in grid]
    for _ in range(8):
        found = _through(fit, points, terms)
        errors = [(x, w * (y - mp.polyval(found[::-1], x))) for x, y, w in known]
        points = _extremes(errors, terms + 1)
    return found


def _through(fit: Fit, points: list[mp.mpf], terms: int) -> list[mp.mpf]:
    """The polynomial whose weighted error is the same at all points, with signs in turn."""
    rows = [
        [*(x**k for k in range(terms)), (-1) ** i / fit.weight(x)] for i, x in enumerate(points)
    ]
    solved = mp.lu_solve(mp.matrix(rows), mp.matrix([fit.function(x) for x in points]))
    return list(solved)[:terms]


def _extremes(errors: list[tuple[mp.mpf, mp.mpf]], count: int) -> list[mp.mpf]:
    """Where the error is largest between its changes of sign."""
    runs = [errors[0]]
    for point in errors[1:]:
        if (point[1] > 0) != (runs[-1][1] > 0):
            runs.append(point)
        elif abs(point[1]) > abs(runs[-1][1]):
            runs[-1] = point
    while len(runs) > count:
        runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
    return [x for x, _ in runs]


def rounded(coefficients: list[mp.mpf], bits: int) -> list[float]:
    """The nearest numbers of so many bits."""
    with mp.workprec(BITS[bits]):
        return [float(+c) for c in coefficients]


def worst(fit: Fit, coefficients: list[float]) -> float:
    """The largest weighted error, as a power of two."""
    points = [fit.begin + (fit.end - fit.begin) * mp.mpf(i) / 1000 for i in range(1001)]
    given = [mp.mpf(c) for c in coefficients[::-1]]
    errors = [fit.weight(x) * (fit.function(x) - mp.polyval(given, x)) for x in points]
    return math.log2(float(max(abs(e) for e in errors)))


def main() -> None:
    """Prints `coefficients.py`."""
    print('"""Polynomials, lowest power first, by the bits of a number; `fit.py` prints this."""\n')
    for fit in FITS:
        print(f"# {fit.comment}\n{fit.name} = {{")
        for bits, terms in fit.terms.items():
            found = rounded(remez(fit, terms), bits)
            print(f"    # off by 2**{worst(fit, found):.1f}\n    {bits}: (")
            print("".join(f"        {c!r},\n" for c in found) + "    ),")
        print("}")


if __name__ == "__main__":
    main()
