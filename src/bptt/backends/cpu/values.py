"""The source of single values: what a stage's reads, numbers and calls are called in a kernel.

A product that is used once, in a sum or a difference, becomes part of it: one instruction and one
rounding in place of two.
"""

from bptt.compiler.stages import MASKS, Call, Number, Read, Stage


class Values:
    """A stage's values.

    Attributes:
        stage: whose they are.
        uniform: for each value, whether it is the same in all columns of a row.
        absorbed: the products that are part of a sum, by index.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.uniform = _uniform(stage)
        self.absorbed: dict[int, Call] = {}
        uses = _uses(stage)
        for value in stage.values:
            if isinstance(value, Call) and value.operation in ("add", "sub"):
                self._absorb([i for i in value.operands if uses[i] == 1 and not self.uniform[i]])

    def _absorb(self, terms: list[int]) -> None:
        """Marks the last product among a sum's terms."""
        for i in reversed(terms):
            value = self.stage.values[i]
            if isinstance(value, Call) and value.operation == "mul":
                self.absorbed[i] = value
                return

    def call(self, call: Call) -> str:
        """The source of an operation on other values."""
        operation, operands = call
        if operation in ("add", "sub"):
            return self._sum(operation, *operands)
        given = [self.number(i) for i in operands]
        if operation.startswith("logical_"):
            given = [self._mask(i) for i in operands]
        elif operation == "where":
            given[0] = self._mask(operands[0])
        return f"{operation}({', '.join(given)})"

    def _sum(self, operation: str, a: int, b: int) -> str:
        sign = "-" if operation == "sub" else ""
        if b in self.absorbed:
            x, y = map(self.number, self.absorbed[b].operands)
            return f"fma({sign}{x}, {y}, {self.number(a)})"
        if a in self.absorbed:
            x, y = map(self.number, self.absorbed[a].operands)
            return f"fma({x}, {y}, {sign}{self.number(b)})"
        return f"{operation}({self.number(a)}, {self.number(b)})"

    def _is_mask(self, i: int) -> bool:
        value = self.stage.values[i]
        return isinstance(value, Call) and value.operation in MASKS

    def number(self, i: int) -> str:
        """Value `i` as numbers, 1 and 0 for a mask."""
        return f"number(v{i})" if self._is_mask(i) else f"v{i}"

    def _mask(self, i: int) -> str:
        return f"v{i}" if self._is_mask(i) else f"mask(v{i})"


def literal(number: float) -> str:
    """Python source of a number, infinity and NaN included."""
    if number != number:
        return "1e999 - 1e999"
    return {float("inf"): "1e999", -float("inf"): "-1e999"}.get(number, repr(float(number)))


def _uniform(stage: Stage) -> list[bool]:
    found: list[bool] = []
    for value in stage.values:
        if isinstance(value, Call):
            found.append(all(found[i] for i in value.operands))
        else:
            found.append(isinstance(value, Number) or (isinstance(value, Read) and value.spread))
    return found


def _uses(stage: Stage) -> list[int]:
    """How often each value is used."""
    count = [0] * len(stage.values)
    for value in stage.values:
        for i in value.operands if isinstance(value, Call) else ():
            count[i] += 1
    for place in (*stage.stores, *stage.reductions):
        count[place.value] += 1
    return count
