"""The expressions of a kernel's source: what each emits."""

import ast

from llvmlite import ir

from bptt.backends.cpu.simd.vector import Shape, Value
from bptt.backends.cpu.simd.vocabulary import INTEGER, TRUTH, WORDS, Words

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
OF_INTEGERS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.LShift: "shl", ast.RShift: "ashr",
    ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
}  # fmt: skip
OF_NUMBERS: dict[type[ast.operator], str] = {
    ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv",
}  # fmt: skip
SMALLEST = {"min": "<", "max": ">"}


class Expressions(ast.NodeVisitor):
    """The expressions of one function.

    Args:
        shape: of its vectors.
        builder: where instructions go.
        first: where a function's own memory is taken, before everything else.
    """

    def __init__(self, shape: Shape, builder: ir.IRBuilder, first: ir.IRBuilder) -> None:
        self.shape, self.builder, self.first = shape, builder, first
        self.words = Words(shape, builder)
        self.names: dict[str, Value] = {}  # to the memory that holds each name's value

    def generic_visit(self, node: ast.AST) -> None:
        """What has no method of its own."""
        raise TypeError(f"expected what kernels are made of, got {type(node).__name__}")

    def visit_Constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, float):
            return ir.Constant(self.shape.element, node.value)
        if isinstance(node.value, int):
            return INTEGER(node.value)
        raise TypeError(f"expected a number, got {node.value!r}")

    def visit_Name(self, node: ast.Name) -> Value:
        if node.id in self.names:
            return self.builder.load(self.names[node.id])
        known = {"LANES": self.shape.lanes, "SIZE": self.shape.size}
        if node.id not in known:
            raise TypeError(f"expected a name that has a value, got {node.id}")
        return INTEGER(known[node.id])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return self.builder.not_(self.truth(node.operand))
        value = self.visit(node.operand)
        return self.builder.neg(value) if value.type == INTEGER else self.builder.fneg(value)

    def visit_BinOp(self, node: ast.BinOp) -> Value:
        return self.binary(node.op, self.visit(node.left), self.visit(node.right))

    def binary(self, how: ast.operator, a: Value, b: Value) -> Value:
        """An operation of integers, of numbers or of vectors."""
        a, b = self._alike(a, b)
        if a.type == INTEGER and isinstance(how, ast.FloorDiv | ast.Mod):
            return self._divide(how, a, b)
        methods = OF_INTEGERS if a.type == INTEGER else OF_NUMBERS
        if type(how) not in methods:
            raise TypeError(f"expected an operation of {a.type}, got {type(how).__name__}")
        never_wraps = a.type == INTEGER and isinstance(how, ast.Add | ast.Sub | ast.Mult)
        flags = ("nsw",) if never_wraps else ()
        return getattr(self.builder, methods[type(how)])(a, b, flags=flags)

    def _alike(self, a: Value, b: Value) -> tuple[Value, Value]:
        """A number beside a vector is one in all lanes."""
        vector, element = self.shape.vector, self.shape.element
        if a.type == vector and b.type == element:
            b = self.words.splat(b)
        elif a.type == element and b.type == vector:
            a = self.words.splat(a)
        if a.type != b.type:
            raise TypeError(f"expected two of a kind, got {a.type} and {b.type}")
        return a, b

    def _divide(self, how: ast.operator, a: Value, b: Value) -> Value:
        """Rounds down, as Python does, where LLVM rounds towards zero."""
        builder = self.builder
        quotient, rest = builder.sdiv(a, b), builder.srem(a, b)
        apart = builder.icmp_signed("<", builder.xor(rest, b), INTEGER(0))
        off = builder.and_(builder.icmp_signed("!=", rest, INTEGER(0)), apart)
        if isinstance(how, ast.Mod):
            return builder.select(off, builder.add(rest, b), rest)
        return builder.select(off, builder.sub(quotient, INTEGER(1)), quotient)

    def visit_Compare(self, node: ast.Compare) -> Value:
        (how,), (right,) = node.ops, node.comparators
        a, b = self._alike(self.visit(node.left), self.visit(right))
        sign = COMPARISONS[type(how)]
        if a.type == INTEGER:
            return self.builder.icmp_signed(sign, a, b)
        ordered = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return ordered(sign, a, b)

    def truth(self, node: ast.expr) -> Value:
        """An expression as a condition: an integer is true if it is not 0."""
        value = self.visit(node)
        return self.builder.icmp_signed("!=", value, INTEGER(0)) if value.type == INTEGER else value

    def visit_BoolOp(self, node: ast.BoolOp) -> Value:
        """Later operands are looked at only if the earlier ones leave it open."""
        result = self.first.alloca(TRUTH)
        self.builder.store(self.truth(node.values[0]), result)
        for value in node.values[1:]:
            so_far = self.builder.load(result)
            is_open = so_far if isinstance(node.op, ast.And) else self.builder.not_(so_far)
            with self.builder.if_then(is_open):
                self.builder.store(self.truth(value), result)
        return self.builder.load(result)

    def visit_IfExp(self, node: ast.IfExp) -> Value:
        with self.builder.if_else(self.truth(node.test)) as (then, otherwise):
            with then:
                yes, from_yes = self.visit(node.body), self.builder.block
            with otherwise:
                no, from_no = self.visit(node.orelse), self.builder.block
        result = self.builder.phi(yes.type)
        result.add_incoming(yes, from_yes)
        result.add_incoming(no, from_no)
        return result

    def visit_Call(self, node: ast.Call) -> Value | None:
        return self.call(name_of(node.func), [self.visit(value) for value in node.args])

    def call(self, name: str, given: list[Value]) -> Value | None:
        """A word of the vocabulary, or the smaller or larger of two integers."""
        if name in SMALLEST:
            a, b = given
            return self.builder.select(self.builder.icmp_signed(SMALLEST[name], a, b), a, b)
        if name not in WORDS:
            raise TypeError(f"expected a function or a word of the vocabulary, got {name}")
        return self.words(name, given)


def name_of(node: ast.expr) -> str:
    """The name that an expression is."""
    if not isinstance(node, ast.Name):
        raise TypeError(f"expected a name, got {ast.unparse(node)}")
    return node.id
