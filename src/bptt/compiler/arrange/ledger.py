"""What a loop stores, and at which level: pieces of one level and width make a stage."""

from collections.abc import Sequence
from typing import NamedTuple

from bptt.compiler.arrange.expressions import Expression, read_again, write
from bptt.compiler.arrange.memories import Memories
from bptt.compiler.arrange.pieces import Piece, Pieces
from bptt.compiler.stages import Reduction, Stage, Store, Value


class _Stored(NamedTuple):
    """A piece, and where it goes."""

    piece: Piece
    memory: str
    offset: int
    reduction: str = ""  # what makes one column of it, if anything does

    @property
    def stage(self) -> tuple[int, int]:
        return self.piece.level, self.piece.width


class Ledger:
    """What is stored by the stages of a loop."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories
        self._stores: list[_Stored] = []
        self._reductions: list[_Stored] = []
        self._again: dict[tuple[int, Expression], Piece] = {}  # where pieces have been stored

    def __bool__(self) -> bool:
        """Whether anything is stored."""
        return bool(self._stores)

    def store(self, memory: str, pieces: Pieces) -> None:
        """Pieces side by side in a memory."""
        offset = 0
        for piece in pieces:
            self._stores.append(_Stored(piece, memory, offset))
            offset += piece.width

    def in_memory(self, pieces: Pieces, whole: bool = False, memory: str = "") -> Pieces:
        """Pieces as what can be read: computed ones are stored first, in one memory if `whole`."""
        if whole or any((p.width, p.expression) not in self._again for p in pieces):
            memory = memory or self._memories.scratch(sum(piece.width for piece in pieces))
            self.store(memory, pieces)
            self._remember(memory, pieces)
        return [self._again[p.width, p.expression] for p in pieces]

    def _remember(self, memory: str, pieces: Pieces) -> None:
        offset = 0
        for piece in pieces:
            again = read_again(piece.expression, memory, offset)
            read = Piece(piece.width, again, piece.level + 1)
            self._again[piece.width, piece.expression] = read
            offset += piece.width

    def reduce(self, pieces: Pieces, reduction: str) -> Pieces:
        """One column for each of some pieces."""
        memory, found = self._memories.scratch(len(pieces)), []
        for offset, piece in enumerate(pieces):
            self._reductions.append(_Stored(piece, memory, offset, reduction))
            found.append(Piece(1, ("read", memory, offset, False), piece.level + 1))
        return found

    def stages(self) -> tuple[Stage, ...]:
        """All that is stored, stage by stage."""
        keys = {entry.stage for entry in [*self._stores, *self._reductions]}
        return tuple(self._stage(key) for key in sorted(keys))

    def _stage(self, key: tuple[int, int]) -> Stage:
        values: dict[Value, int] = {}
        stores = [
            Store(entry.memory, entry.offset, write(entry.piece.expression, values))
            for entry in _of(self._stores, key)
        ]
        reductions = [
            Reduction(
                entry.memory, entry.offset, write(entry.piece.expression, values), entry.reduction
            )
            for entry in _of(self._reductions, key)
        ]
        return Stage(key[1], tuple(values), tuple(stores), tuple(reductions))


def _of(entries: Sequence[_Stored], key: tuple[int, int]) -> list[_Stored]:
    return [entry for entry in entries if entry.stage == key]
