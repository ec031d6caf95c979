"""From the Python source of a kernel to LLVM's language.

A small part of Python is enough: functions of integers and vectors; assignments; `for` over a
`range`, `while`, `if`; arithmetic, comparisons, `and`, `or`, `not`, conditional expressions; calls of
each other and of the words of the vocabulary. A function that ends in `return` is written out where
it is called. A general compiler of Python, Numba, takes seconds for what takes this one
milliseconds, as it must find out types and this one need not: names never change theirs.
"""

import ast

from llvmlite import ir

from bptt.backends.cpu.simd.vector import Shape
from bptt.backends.cpu.simd.vocabulary import INTEGER, TRUTH, WORDS, Words

COMPARISONS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
OF_INTEGERS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.LShift: "shl", ast.RShift: "ashr",
    ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
}  # fmt: skip
OF_NUMBERS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}


def translate(source: str, entries: tuple[str, ...], shape: Shape) -> str:
    """The module, as text, whose functions `entries` take the address of a block.

    Raises:
        TypeError: if the source holds what this part of Python has not, with the line.
    """
    module = Module(source, shape)
    for name in entries:
        module.function(name, [INTEGER], linkage="")
    return str(module.text)


class Module:
    """The functions of a source that are called, for the types that they are called with."""

    def __init__(self, source: str, shape: Shape) -> None:
        found = ast.parse(source).body
        self.shape, self.text = shape, ir.Module()
        self.definitions = {node.name: node for node in found if isinstance(node, ast.FunctionDef)}
        self._made: dict[str, ir.Function] = {}

    def function(self, name: str, kinds: list[ir.Type], linkage: str = "internal") -> ir.Function:
        """A function for arguments of such types, translated at its first call."""
        symbol = "_".join([name, *(str(kind) for kind in kinds if kind != INTEGER)])
        if symbol not in self._made:
            function = ir.Function(self.text, ir.FunctionType(ir.VoidType(), kinds), symbol)
            function.linkage = linkage
            function.attributes.add("nounwind")
            self._made[symbol] = function
            self._write(self.definitions[name], function)
        return self._made[symbol]

    def _write(self, node: ast.FunctionDef, function: ir.Function) -> None:
        start, body = function.append_basic_block("start"), function.append_basic_block("body")
        builder, first = ir.IRBuilder(body), ir.IRBuilder(start)
        scope = Scope(self, builder, first)
        scope.bind(node, list(function.args))
        scope.run(node.body)
        builder.ret_void()
        first.branch(body)

    def returns(self, name: str) -> bool:
        """Whether a function ends in `return`."""
        return isinstance(self.definitions[name].body[-1], ast.Return)


class Scope(ast.NodeVisitor):
    """The names of one function and what it does.

    Args:
        module: where other functions are.
        builder: where instructions go.
        first: where a function's own memory is taken, before everything else.
    """

    def __init__(self, module: Module, builder: ir.IRBuilder, first: ir.IRBuilder) -> None:
        self.module, self.builder, self.first = module, builder, first
        self.words = Words(module.shape, builder)
        self.names: dict[str, ir.Value] = {}

    def bind(self, node: ast.FunctionDef, given: list[ir.Value]) -> None:
        """Gives a function's arguments their values."""
        for argument, value in zip(node.args.args, given, strict=True):
            self._set(argument.arg, value)

    def run(self, statements: list[ast.stmt]) -> None:
        """One statement after the other."""
        for statement in statements:
            try:
                self.visit(statement)
            except (TypeError, KeyError, ValueError) as error:
                if hasattr(error, "line"):
                    raise
                raise _located(error, statement) from error

    def generic_visit(self, node: ast.AST) -> None:
        """What has no method of its own."""
        raise TypeError(f"expected what kernels are made of, got {type(node).__name__}")

    # ---- statements ------------------------------------------------------------------------

    def _set(self, name: str, value: ir.Value | None) -> None:
        if value is None:
            raise TypeError(f"expected a value for {name}, got a call that returns none")
        place = self.names.get(name)
        if place is None:
            place = self.names[name] = self.first.alloca(value.type, name=name)
        if place.type.pointee != value.type:
            raise TypeError(f"expected {name} to stay {place.type.pointee}, got {value.type}")
        self.builder.store(value, place)

    def visit_Assign(self, node: ast.Assign) -> None:
        (target,) = node.targets
        if not isinstance(target, ast.Tuple):
            self._set(target.id, self.visit(node.value))
            return
        values = [self.visit(value) for value in node.value.elts]
        for name, value in zip(target.elts, values, strict=True):
            self._set(name.id, value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        left = self.visit(ast.Name(node.target.id, ast.Load()))
        self._set(node.target.id, self._binary(node.op, left, self.visit(node.value)))

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_Pass(self, node: ast.Pass) -> None:
        pass

    def visit_If(self, node: ast.If) -> None:
        test = self._truth(node.test)
        if not node.orelse:
            with self.builder.if_then(test):
                self.run(node.body)
            return
        with self.builder.if_else(test) as (then, otherwise):
            with then:
                self.run(node.body)
            with otherwise:
                self.run(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self._loop(lambda: self._truth(node.test), lambda: self.run(node.body))

    def visit_For(self, node: ast.For) -> None:
        given = [self.visit(value) for value in node.iter.args]
        start, stop = given[:2] if len(given) > 1 else (INTEGER(0), given[0])
        step = given[2] if len(given) > 2 else INTEGER(1)
        counter = self.first.alloca(INTEGER)
        self.builder.store(start, counter)

        def test() -> ir.Value:
            return self.builder.icmp_signed("<", self.builder.load(counter), stop)

        def body() -> None:
            now = self.builder.load(counter)
            self._set(node.target.id, now)
            self.run(node.body)
            self.builder.store(self.builder.add(now, step, flags=("nsw",)), counter)

        self._loop(test, body)

    def _loop(self, test, body) -> None:
        blocks = [self.builder.append_basic_block(name) for name in ("test", "loop", "after")]
        self.builder.branch(blocks[0])
        self.builder.position_at_end(blocks[0])
        self.builder.cbranch(test(), *blocks[1:])
        self.builder.position_at_end(blocks[1])
        body()
        self.builder.branch(blocks[0])
        self.builder.position_at_end(blocks[2])

    # ---- expressions -----------------------------------------------------------------------

    def visit_Constant(self, node: ast.Constant) -> ir.Value:
        if isinstance(node.value, float):
            return ir.Constant(self.module.shape.element, node.value)
        return INTEGER(node.value)

    def visit_Name(self, node: ast.Name) -> ir.Value:
        if node.id in self.names:
            return self.builder.load(self.names[node.id])
        shape = self.module.shape
        return INTEGER({"LANES": shape.lanes, "SIZE": shape.size}[node.id])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ir.Value:
        if isinstance(node.op, ast.Not):
            return self.builder.not_(self._truth(node.operand))
        value = self.visit(node.operand)
        return self.builder.neg(value) if value.type == INTEGER else self.builder.fneg(value)

    def visit_BinOp(self, node: ast.BinOp) -> ir.Value:
        return self._binary(node.op, self.visit(node.left), self.visit(node.right))

    def _binary(self, how: ast.operator, a: ir.Value, b: ir.Value) -> ir.Value:
        a, b = self._alike(a, b)
        if a.type != INTEGER:
            return getattr(self.builder, OF_NUMBERS[type(how)])(a, b)
        if isinstance(how, ast.FloorDiv | ast.Mod):
            return self._divide(how, a, b)
        flags = ("nsw",) if isinstance(how, ast.Add | ast.Sub | ast.Mult) else ()
        return getattr(self.builder, OF_INTEGERS[type(how)])(a, b, flags=flags)

    def _alike(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        """A number beside a vector is one in all lanes."""
        vector, element = self.module.shape.vector, self.module.shape.element
        if a.type == vector and b.type == element:
            b = self.words.splat(b)
        elif a.type == element and b.type == vector:
            a = self.words.splat(a)
        if a.type != b.type:
            raise TypeError(f"expected two of a kind, got {a.type} and {b.type}")
        return a, b

    def _divide(self, how: ast.operator, a: ir.Value, b: ir.Value) -> ir.Value:
        """Rounds down, as Python does, where LLVM rounds towards zero."""
        builder = self.builder
        quotient, rest = builder.sdiv(a, b), builder.srem(a, b)
        apart = builder.icmp_signed("<", builder.xor(rest, b), INTEGER(0))
        off = builder.and_(builder.icmp_signed("!=", rest, INTEGER(0)), apart)
        if isinstance(how, ast.Mod):
            return builder.select(off, builder.add(rest, b), rest)
        return builder.select(off, builder.sub(quotient, INTEGER(1)), quotient)

    def visit_Compare(self, node: ast.Compare) -> ir.Value:
        (how,), (right,) = node.ops, node.comparators
        a, b = self._alike(self.visit(node.left), self.visit(right))
        sign = COMPARISONS[type(how)]
        if a.type == INTEGER:
            return self.builder.icmp_signed(sign, a, b)
        ordered = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return ordered(sign, a, b)

    def _truth(self, node: ast.expr) -> ir.Value:
        value = self.visit(node)
        return self.builder.icmp_signed("!=", value, INTEGER(0)) if value.type == INTEGER else value

    def visit_BoolOp(self, node: ast.BoolOp) -> ir.Value:
        """Later operands are looked at only if the earlier ones leave it open."""
        result = self.first.alloca(TRUTH)
        self.builder.store(self._truth(node.values[0]), result)
        for value in node.values[1:]:
            so_far = self.builder.load(result)
            is_open = so_far if isinstance(node.op, ast.And) else self.builder.not_(so_far)
            with self.builder.if_then(is_open):
                self.builder.store(self._truth(value), result)
        return self.builder.load(result)

    def visit_IfExp(self, node: ast.IfExp) -> ir.Value:
        with self.builder.if_else(self._truth(node.test)) as (then, otherwise):
            with then:
                yes, from_yes = self.visit(node.body), self.builder.block
            with otherwise:
                no, from_no = self.visit(node.orelse), self.builder.block
        result = self.builder.phi(yes.type)
        result.add_incoming(yes, from_yes)
        result.add_incoming(no, from_no)
        return result

    def visit_Call(self, node: ast.Call) -> ir.Value | None:
        name, given = node.func.id, [self.visit(value) for value in node.args]
        if name in ("min", "max"):
            sign = "<" if name == "min" else ">"
            return self.builder.select(self.builder.icmp_signed(sign, *given), *given)
        if name not in self.module.definitions:
            return self._word(name, given)
        if self.module.returns(name):
            return self._write_out(self.module.definitions[name], given)
        function = self.module.function(name, [value.type for value in given])
        self.builder.call(function, given)
        return None

    def _word(self, name: str, given: list[ir.Value]) -> ir.Value | None:
        if name not in WORDS:
            raise TypeError(f"expected a word of the vocabulary or a function, got {name}")
        return self.words(name, given)

    def _write_out(self, node: ast.FunctionDef, given: list[ir.Value]) -> ir.Value:
        inner = Scope(self.module, self.builder, self.first)
        inner.bind(node, given)
        inner.run(node.body[:-1])
        return inner.visit(node.body[-1].value)


def _located(error: Exception, statement: ast.stmt) -> TypeError:
    """The error with the line that it is about."""
    found = TypeError(f"{error}, in line {statement.lineno}: {ast.unparse(statement)}")
    found.line = statement.lineno
    return found
