"""The lecture's formulas as MathML, which browsers set without fonts or scripts of ours."""

from html import escape


def mi(letter: str) -> str:
    """A name."""
    return f"<mi>{escape(letter)}</mi>"


def low(letter: str, index: str | int) -> str:
    """A name with something set low: s_3, W_s.

    >>> low("s", 3)
    '<msub><mi>s</mi><mn>3</mn></msub>'
    """
    kind = "mn" if str(index).isdigit() else "mi"
    return f"<msub>{mi(letter)}<{kind}>{index}</{kind}></msub>"


def weight(name: str) -> str:
    """Ws as the lecture has it."""
    return low(name[0], name[1:])


def over(above: str, below: str, *, plus: bool = False) -> str:
    """A derivative; with `plus`, the direct part alone."""
    sign = "<msup><mi>∂</mi><mo>+</mo></msup>" if plus else "<mi>∂</mi>"
    return f"<mfrac><mrow>{sign}{above}</mrow><mrow><mi>∂</mi>{below}</mrow></mfrac>"


def row(*parts: str) -> str:
    """Parts side by side."""
    return f"<mrow>{''.join(parts)}</mrow>"


def mo(sign: str) -> str:
    """An operator."""
    return f"<mo>{escape(sign)}</mo>"


def math(*parts: str, block: bool = False) -> str:
    """A formula.

    >>> math(mi("a"))
    '<math displaystyle="true"><mi>a</mi></math>'
    """
    shown = ' display="block"' if block else ' displaystyle="true"'
    return f"<math{shown}>{''.join(parts)}</math>"


def factors(t: int, k: int, name: str, output: str) -> list[str]:
    """The chain from E_t back to step k's own use of a weight, factor by factor.

    Args:
        t, k: the loss time and the step.
        name: of the weight: Wx, Ws or Wy.
        output: what E is taken of, "y" or what the softmax takes, "z".
    """
    first = over(low("E", t), low(output, t))
    if name == "Wy":
        return [first, over(low(output, t), weight(name), plus=True)]
    back = [over(low("s", j), low("s", j - 1)) for j in range(t, k, -1)]
    return [
        first,
        over(low(output, t), low("s", t)),
        *back,
        over(low("s", k), weight(name), plus=True),
    ]


def chain(t: int, k: int, name: str, output: str, most: int = 8) -> str:
    """The product of these factors, its middle left out where it is long."""
    found = factors(t, k, name, output)
    if len(found) > most:
        found = [*found[: most - 3], mo("⋯"), *found[-2:]]
    return math(mo("·").join(found))


def total(t: int, name: str, output: str) -> str:
    """dE_t/dW as the sum over the paths back through time."""
    left = over(low("E", t), weight(name))
    if name == "Wy":
        return math(left, mo("="), mo("·").join(factors(t, t, name, output)), block=True)
    inside = mo("·").join(
        [
            over(low("E", t), low(output, t)),
            over(low(output, t), low("s", t)),
            over(low("s", t), low("s", "k")),
            over(low("s", "k"), weight(name), plus=True),
        ]
    )
    limits = (
        f"<munderover>{mo('∑')}<mrow>{mi('k')}{mo('=')}<mn>1</mn></mrow><mn>{t}</mn></munderover>"
    )
    return math(left, mo("="), limits, inside, block=True)


def own_part(t: int, k: int, name: str, output: str) -> str:
    """What a term is computed as: the transposed input of the weight times delta."""
    if name == "Wy":
        used, error = low("s", t), over(low("E", t), low(output, t))
    else:
        used = low("s", k - 1) if name == "Ws" else low("x", k)
        error = low("δ", k)
    raised = f"<msup>{row(used)}<mi>T</mi></msup>"
    return math(raised, error)


def slope(t: int, output: str) -> str:
    """dE_t/dy_t, or of a softmax dE_t/dz_t, by what came and what was wanted."""
    difference = row(low("y", t), mo("−"), low("d", t))
    squared = row("<mn>2</mn>", mo("("), difference, mo(")"))
    return math(squared if output == "y" else difference)


def network(activation: str, loss: str) -> list[str]:
    """The three equations."""
    state = row(
        low("s", "t"), mo("="), mi(activation), mo("("), low("x", "t"), weight("Wx"), mo("+"),
        f"<msub>{mi('s')}<mrow><mi>t</mi><mo>−</mo><mn>1</mn></mrow></msub>", weight("Ws"), mo(")"),
    )  # fmt: skip
    scores = row(low("s", "t"), weight("Wy"))
    y, d = low("y", "t"), low("d", "t")
    if loss == "cross-entropy":
        output = row(mi("softmax"), mo("("), scores, mo(")"))
        error = row(mo("−"), mo("∑"), d, mi("log"), y)
    else:
        output, error = scores, f"<msup>{row(mo('('), d, mo('−'), y, mo(')'))}<mn>2</mn></msup>"
    return [
        math(state),
        math(y, mo("="), output),
        math(low("E", "t"), mo("="), error),
    ]
