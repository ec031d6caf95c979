"""A loop's stages as the kernel wants them: products from rows of its own, reductions apart.

What the kernel's source is made of after `arrange`:

- a product reads a carry, a scratch memory or a pile, whose rows lie one below the other at a fixed
  distance. Other sources are first copied to a scratch memory;
- a stage with products has no reductions: it stores the products, and the next stage does the rest.
  So a reduction sees its row from the first column to the last;
- a carry that is stored at all is stored in every column, for its rows change places after a step.
"""

from collections.abc import Iterator

from bptt.compiler.stages import (
    Loop,
    Memory,
    Product,
    Read,
    Stage,
    Store,
)


def arrange(loop: Loop) -> Loop:
    """The same loop with every stage of a kind that the kernel knows."""
    loop = loop._replace(stages=(*_kept_columns(loop), *loop.stages))
    for step in (_copy_sources, _part_reductions):
        memories, stages = list(loop.memories), []
        for stage in loop.stages:
            stages += step(stage, memories)
        loop = loop._replace(memories=tuple(memories), stages=tuple(stages))
    return loop


def products(stage: Stage) -> list[tuple[int, Product]]:
    """The products of a stage with their index among its values."""
    return [(i, value) for i, value in enumerate(stage.values) if isinstance(value, Product)]


def stored(loop: Loop) -> set[str]:
    """The names of memories that some stage stores to."""
    return {store.memory for stage in loop.stages for store in stage.stores}


def _kept_columns(loop: Loop) -> Iterator[Stage]:
    """Stages that copy what is not stored of a carry of which something is."""
    for memory in loop.memories:
        if memory.kind == "carry" and memory.name in stored(loop):
            for first, last in _gaps(loop, memory):
                read, store = Read(memory.name, first), Store(memory.name, first, 0)
                yield Stage(last - first, (read,), (store,))


def _gaps(loop: Loop, memory: Memory) -> Iterator[tuple[int, int]]:
    """Ranges of columns to which no stage stores."""
    ranges = sorted(
        (store.offset, store.offset + stage.width)
        for stage in loop.stages
        for store in stage.stores
        if store.memory == memory.name
    )
    reached = 0
    for first, last in [*ranges, (memory.width, memory.width)]:
        if first > reached:
            yield reached, first
        reached = max(reached, last)


def _scratch(memories: list[Memory], name: str, width: int) -> str:
    """The name of a new scratch memory."""
    taken = {memory.name for memory in memories}
    while name in taken:
        name += "_"
    memories.append(Memory(name, "scratch", width))
    return name


def _copy_sources(stage: Stage, memories: list[Memory]) -> list[Stage]:
    """Copies the rows that the stage multiplies, where they do not lie one below the other."""
    kinds = {memory.name: memory.kind for memory in memories}
    copies, values, places = [], list(stage.values), {}
    for i, product in products(stage):
        if kinds[product.memory] in ("carry", "scratch", "pile"):
            continue
        place = product.memory, product.offset, product.count
        if place not in places:
            places[place] = _scratch(memories, f"{product.memory}_row", product.count)
            copy = Store(places[place], 0, 0)
            copies.append(Stage(product.count, (Read(*place[:2]),), (copy,)))
        values[i] = product._replace(memory=places[place], offset=0)
    return [*copies, stage._replace(values=tuple(values))]


def _part_reductions(stage: Stage, memories: list[Memory]) -> list[Stage]:
    """Two stages in place of one that has products and reductions."""
    found = products(stage)
    if not (found and stage.reductions):
        return [stage]
    values, stores = list(stage.values), []
    for i, _ in found:
        name = _scratch(memories, f"product_{i}", stage.width)
        stores.append(Store(name, 0, len(stores)))
        values[i] = Read(name)
    first = Stage(stage.width, tuple(product for _, product in found), tuple(stores))
    return [first, stage._replace(values=tuple(values))]
