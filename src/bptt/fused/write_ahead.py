"""The way forward of an ordinary unroll, written out."""

from collections.abc import Callable, Sequence

from bptt.fused.lines import Lines, carry, listed


def write(lines: Lines, kept: Sequence[str]) -> Callable[..., tuple]:
    """`ahead(job, tensors) -> outputs, final state, kept`.

    Args:
        lines: nothing so far.
        kept: the memories that the way back needs.
    """
    direction, columns = lines.direction, lines.direction.columns
    lines.begin()
    lines.fixed((columns.before, direction.before), (columns.after, direction.after))
    if direction.prepares:
        lines.column("before", columns.before, direction.before)
    for part in direction.kept:
        lines.new(part.node)
    others = dict[str, str]()
    for leaf, (name, own) in enumerate(zip(lines.state, direction.names.carried, strict=True)):
        lines.write(f"e{leaf} = empty_like({name})")
        others |= carry(own, f"{name}.data_ptr()", f"e{leaf}.data_ptr()", lines.head(leaf))
    lines.kernel(others)
    if columns.after:
        lines.column("after", columns.after, direction.after)
    outputs = listed(_output(lines, node, copied) for node, copied, _ in lines.shown)
    ends = listed(f"e{leaf}" for leaf in range(len(lines.state)))
    lines.write(f"return [{outputs}], [{ends}], [{listed(kept)}]")
    return lines.function("job, tensors")


def _output(lines: Lines, node: int, copied: bool) -> str:
    whole = lines.output(node)
    if copied:
        return f"{whole}.clone()"
    return whole if node in lines.bare else f"{whole}.detach()"
