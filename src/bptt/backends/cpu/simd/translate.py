"""From the Python source of a kernel to LLVM's language.

A small part of Python is enough: functions of integers and vectors; assignments; `for` over a
`range`, `while`, `if`; arithmetic, comparisons, `and`, `or`, `not`, conditional expressions; calls
of each other and of the words of the vocabulary. A function that ends in `return` is written out
where it is called. A general compiler of Python, Numba, takes seconds for what takes this one
milliseconds, as it must find out types and this one need not: names never change theirs.
"""

import ast
from collections.abc import Callable

from llvmlite import ir

from bptt.backends.cpu.simd.expressions import Expressions, name_of
from bptt.backends.cpu.simd.vector import Shape, Value
from bptt.backends.cpu.simd.vocabulary import INTEGER


class SourceError(TypeError):
    """A source that is not in the part of Python that kernels are written in."""


def translate(source: str, entries: tuple[str, ...], shape: Shape) -> str:
    """The module, as text, whose functions `entries` take the address of a block.

    Raises:
        SourceError: if the source holds what cannot be translated, with its line.

    Example:
        >>> text = "def f(block):\\n    put(integer(block, 0), 3, 1.5)\\n"
        >>> "store float 0x3ff8" in translate(text, ("f",), Shape(32, 4, fused=True))
        True
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


class Scope(Expressions):
    """The names of one function and what it does.

    Args:
        module: where other functions are.
        builder: where instructions go.
        first: where a function's own memory is taken, before everything else.
    """

    def __init__(self, module: Module, builder: ir.IRBuilder, first: ir.IRBuilder) -> None:
        super().__init__(module.shape, builder, first)
        self.module = module

    def bind(self, node: ast.FunctionDef, given: list[Value]) -> None:
        """Gives a function's arguments their values."""
        if len(given) != len(node.args.args):
            raise TypeError(f"expected {len(node.args.args)} arguments, got {len(given)}")
        for argument, value in zip(node.args.args, given, strict=True):
            self._set(argument.arg, value)

    def run(self, statements: list[ast.stmt]) -> None:
        """One statement after the other."""
        for statement in statements:
            try:
                self.visit(statement)
            except SourceError:
                raise
            except (TypeError, KeyError, ValueError, AttributeError) as error:
                line = f"line {statement.lineno}: {ast.unparse(statement)}"
                raise SourceError(f"{error}, in {line}") from error

    def call(self, name: str, given: list[Value]) -> Value | None:
        """A function of this source, else what every source may call."""
        node = self.module.definitions.get(name)
        if node is None:
            return super().call(name, given)
        last = node.body[-1]
        if isinstance(last, ast.Return) and last.value:
            inner = Scope(self.module, self.builder, self.first)
            inner.bind(node, given)
            inner.run(node.body[:-1])
            return inner.visit(last.value)
        function = self.module.function(name, [value.type for value in given])
        self.builder.call(function, given)
        return None

    def _set(self, name: str, value: Value | None) -> None:
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
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            values = [self.visit(value) for value in node.value.elts]
            for name, value in zip(target.elts, values, strict=True):
                self._set(name_of(name), value)
        else:
            self._set(name_of(target), self.visit(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        name = name_of(node.target)
        before = self.visit_Name(ast.Name(name))
        self._set(name, self.binary(node.op, before, self.visit(node.value)))

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_Pass(self, node: ast.Pass) -> None:
        """Nothing."""

    def visit_If(self, node: ast.If) -> None:
        test = self.truth(node.test)
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
        self._loop(lambda: self.truth(node.test), lambda: self.run(node.body))

    def visit_For(self, node: ast.For) -> None:
        start, stop, step = self._range(node.iter)
        counter = self.first.alloca(INTEGER)
        self.builder.store(start, counter)

        def test() -> Value:
            return self.builder.icmp_signed("<", self.builder.load(counter), stop)

        def body() -> None:
            now = self.builder.load(counter)
            self._set(name_of(node.target), now)
            self.run(node.body)
            self.builder.store(self.builder.add(now, step, flags=("nsw",)), counter)

        self._loop(test, body)

    def _range(self, node: ast.expr) -> tuple[Value, Value, Value]:
        """Start, stop and step, which is more than 0."""
        if not isinstance(node, ast.Call) or name_of(node.func) != "range":
            raise TypeError(f"expected a range, got {ast.unparse(node)}")
        given = [self.visit(value) for value in node.args]
        start, stop = given[:2] if len(given) > 1 else (INTEGER(0), given[0])
        return start, stop, given[2] if len(given) > 2 else INTEGER(1)

    def _loop(self, test: Callable[[], Value], body: Callable[[], None]) -> None:
        before, inside, after = (self.builder.append_basic_block() for _ in range(3))
        self.builder.branch(before)
        self.builder.position_at_end(before)
        self.builder.cbranch(test(), inside, after)
        self.builder.position_at_end(inside)
        body()
        self.builder.branch(before)
        self.builder.position_at_end(after)
