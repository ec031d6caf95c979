"""Whether a loop stays within its memories: a kernel that does not would spoil others' numbers."""

from collections.abc import Iterator

from bptt.compiler.stages import OPERATIONS, Call, Loop, Memory, Outer, Product, Read, Stage

SOURCES = ("step", "begun", "trail", "sequence", "carry", "scratch", "sum", "pile")
TARGETS = ("step", "trail", "carry", "scratch", "sum", "pile")


def check(loop: Loop) -> None:
    """Raises ValueError if a stage reads or stores where there is nothing."""
    memories = {memory.name: memory for memory in loop.memories}
    for number, stage in enumerate(loop.stages):
        for fault in _faults(stage, memories):
            raise ValueError(f"stage {number} of a loop: {fault}")
    for outer in loop.outers:
        for fault in _misfits(outer, memories):
            raise ValueError(f"a sum of products over the rows of a loop: {fault}")


def _faults(stage: Stage, memories: dict[str, Memory]) -> Iterator[str]:
    for i, value in enumerate(stage.values):
        match value:
            case Read(name, offset, spread):
                width = 1 if spread else stage.width
                yield from _outside(memories, name, offset, width, (*SOURCES, "weight"))
            case Product():
                yield from _product(value, stage, memories)
            case Call(operation, operands):
                if len(operands) != OPERATIONS.get(operation) or max(operands, default=i) >= i:
                    yield f"expected an operation on earlier values, got {value}"
    for place in stage.stores:
        yield from _outside(memories, place.memory, place.offset, stage.width, TARGETS)
    for place in stage.reductions:
        yield from _outside(memories, place.memory, place.offset, 1, ("scratch",))


def _product(product: Product, stage: Stage, memories: dict[str, Memory]) -> Iterator[str]:
    name, offset, count, matrix, column = product
    yield from _outside(memories, name, offset, count, SOURCES)
    yield from _outside(memories, matrix, column, stage.width, ("matrix",))
    if count > memories[matrix].height:
        yield f"expected at most {memories[matrix].height} rows of {matrix}, got {count}"
    if memories[name].kind != "carry" and name in {store.memory for store in stage.stores}:
        yield f"expected a product from what the stage does not store, got {name}"


def _misfits(outer: Outer, memories: dict[str, Memory]) -> Iterator[str]:
    total = memories.get(outer.total)
    if total is None or total.kind != "outer":
        yield f"expected {outer.total} to be a memory of kind outer, got {total}"
        return
    for name, width in ((outer.left, total.height), (outer.right, total.width)):
        pile = memories.get(name)
        if pile is None or pile.kind != "pile" or pile.width != width:
            yield f"expected {name} to be a pile of {width} columns, got {pile}"


def _outside(
    memories: dict[str, Memory], name: str, offset: int, width: int, kinds: tuple[str, ...]
) -> Iterator[str]:
    """What is wrong with columns `offset` to `offset + width` of a memory."""
    memory = memories.get(name)
    if memory is None or memory.kind not in kinds:
        yield f"expected {name} to be a memory of kind {', '.join(kinds)}, got {memory}"
    elif offset < 0 or width < 1 or offset + width > memory.width:
        last = offset + width
        yield f"expected columns within the {memory.width} of {name}, got {offset} to {last}"
