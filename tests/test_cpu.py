"""Kernels against an interpreter of the same loops in float64."""

import ctypes
import functools
import math
import platform
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bptt.backends.cpu import crowd, kernel, simd
from bptt.backends.cpu.kernel import Reset, Rows
from bptt.backends.cpu.program import ENTRIES, program
from bptt.backends.cpu.simd import machine, translate
from bptt.backends.cpu.simd.vector import Shape
from bptt.compiler.stages import (
    OPERATIONS,
    Call,
    Loop,
    Memory,
    Number,
    Outer,
    Product,
    Read,
    Reduction,
    Stage,
    Store,
)
from bptt.errors import BackendError

WIDE = torch.float64
TOLERANCE = {torch.float32: 3e-5, torch.float64: 1e-12}

# ---- the oracle: a loop row by row, in float64 -------------------------------------------------


class Interpreter:
    """Runs a loop one row at a time, in the plainest way."""

    def __init__(self, loop, memories, begin, end, reset=None):
        self.loop, self.memories, self.begin, self.end = loop, memories, begin, end
        self.mask, self.fresh, self.mode = reset or (None, {}, None)
        self.kinds = {memory.name: memory.kind for memory in loop.memories}

    def run(self, rows):
        for b, first, steps, direction in rows:
            carries = {name: start[b].clone() for name, start in self.begin.items()}
            for i in range(steps):
                carries = self.step(first + direction * i, b, carries)
            for name, value in carries.items():
                self.end[name][b] = value

    def step(self, t, b, carries):
        now = self.mask is not None and self.mask[t, b]
        if now and self.mode == "enter":
            carries = {name: self.fresh[name][b] for name in carries}
        stored = {name: value.clone() for name, value in carries.items()}
        scratch = {m.name: torch.full((m.width,), math.nan, dtype=WIDE) for m in self.loop.memories}
        read = functools.partial(self.row, t, b, carries, scratch)
        write = functools.partial(self.row, t, b, stored, scratch)
        for stage in self.loop.stages:
            self.stage(stage, read, write)
        if now and self.mode == "leave":
            for name, value in stored.items():
                self.fresh[name][b] += value
                value.zero_()
        return stored

    def row(self, t, b, carries, scratch, name):
        kind = self.kinds[name]
        memory = {"carry": carries, "scratch": scratch}.get(kind, self.memories)[name]
        return memory[{"step": (t, b), "sequence": (b,)}.get(kind, ())]

    def stage(self, stage, read, write):
        found = []
        for value in stage.values:
            found.append(self.value(value, stage.width, read, found))
        results = [(name, offset, found[i]) for name, offset, i in stage.stores]
        for name, offset, i, operation in stage.reductions:
            total = found[i].to(WIDE).sum() if operation == "sum" else found[i].to(WIDE).amax()
            results.append((name, offset, total.reshape(1)))
        for name, offset, value in results:
            write(name)[offset : offset + len(value)] = value.to(WIDE)

    def value(self, value, width, read, found):
        match value:
            case Read(name, offset, spread):
                row = read(name)
                return row[offset].expand(width) if spread else row[offset : offset + width].clone()
            case Number(number):
                return torch.full((width,), number, dtype=WIDE)
            case Product(name, offset, count, matrix, column):
                weights = self.memories[matrix][:count, column : column + width]
                return (read(name)[offset : offset + count, None] * weights).sum(0)
            case Call(operation, operands):
                return call(operation, [found[i] for i in operands])


def call(operation, operands):
    if not operation.startswith("logical"):
        operands = [x.to(WIDE) for x in operands]
    if operation == "where":
        operands[0] = operands[0] != 0
    return getattr(torch, operation)(*operands)


# ---- loops by hand -----------------------------------------------------------------------------


class Writing:
    """Writes a stage's values down one after the other; `w.tanh(i)` is a call on value i."""

    def __init__(self, width):
        self.width, self.values, self.stores, self.reductions = width, [], [], []

    def value(self, value):
        self.values.append(value)
        return len(self.values) - 1

    def read(self, memory, offset=0, spread=False):
        return self.value(Read(memory, offset, spread))

    def number(self, value):
        return self.value(Number(value))

    def product(self, *given):
        return self.value(Product(*given))

    def __getattr__(self, operation):
        if operation not in OPERATIONS:
            raise AttributeError(operation)
        return lambda *operands: self.value(Call(operation, operands))

    def store(self, value, *places):
        for memory, offset in places:
            self.stores.append(Store(memory, offset, value))

    def reduce(self, memory, value, operation="sum", offset=0):
        self.reductions.append(Reduction(memory, offset, value, operation))

    def stage(self):
        return Stage(self.width, tuple(self.values), tuple(self.stores), tuple(self.reductions))


def elman(H):
    w = Writing(H)
    state = w.tanh(w.add(w.product("s", 0, H, "Ws"), w.read("p")))
    w.store(state, ("s", 0), ("states", 0))
    memories = Memory("p", "step", H), Memory("states", "step", H), Memory("s", "carry", H)
    return Loop((*memories, Memory("Ws", "matrix", H, H)), (w.stage(),))


def elman_back(H):
    w = Writing(H)
    s, one = w.read("states"), w.number(1.0)
    adjoint = w.add(w.read("d"), w.product("delta", 0, H, "WsT"))
    delta = w.mul(adjoint, w.sub(one, w.mul(s, s)))
    w.store(delta, ("delta", 0), ("deltas", 0))
    memories = [Memory(name, "step", H) for name in ("d", "states", "deltas")]
    memories += [Memory("WsT", "matrix", H, H), Memory("delta", "carry", H)]
    return Loop(tuple(memories), (w.stage(),))


def lstm(H):
    w = Writing(H)
    gates = []
    for g, activation in enumerate((w.sigmoid, w.sigmoid, w.tanh, w.sigmoid)):
        gates.append(activation(w.add(w.product("h", 0, H, "U", g * H), w.read("p", g * H))))
        w.store(gates[-1], ("gates", g * H))
    i, f, g, o = gates
    c = w.add(w.mul(f, w.read("c")), w.mul(i, g))
    w.store(c, ("c", 0), ("cs", 0))
    w.store(w.mul(o, w.tanh(c)), ("h", 0), ("hs", 0))
    memories = [Memory("p", "step", 4 * H), Memory("gates", "step", 4 * H)]
    memories += [Memory("hs", "step", H), Memory("cs", "step", H), Memory("U", "matrix", 4 * H, H)]
    return Loop((*memories, Memory("h", "carry", H), Memory("c", "carry", H)), (w.stage(),))


def lstm_back(H):
    w = Writing(H)
    i, f, g, o = (w.read("gates", k * H) for k in range(4))
    one, last = w.number(1.0), w.tanh(w.read("cs"))
    dh = w.add(w.product("delta", 0, 4 * H, "UT"), w.read("dh"))
    slope = w.sub(one, w.mul(last, last))
    dc = w.add(w.mul(w.mul(dh, o), slope), w.read("dc"))
    slopes = [w.mul(s, w.sub(one, s)) for s in (i, f, o)]
    slopes.insert(2, w.sub(one, w.mul(g, g)))
    adjoints = w.mul(dc, g), w.mul(dc, w.read("before")), w.mul(dc, i), w.mul(dh, last)
    deltas = [w.mul(adjoint, slope) for adjoint, slope in zip(adjoints, slopes, strict=True)]
    for k, delta in enumerate(deltas):
        w.store(delta, ("delta", k * H), ("deltas", k * H))
    w.store(w.mul(dc, f), ("dc", 0))
    memories = [Memory(name, "step", H) for name in ("dh", "cs", "before")]
    memories += [Memory("gates", "step", 4 * H), Memory("deltas", "step", 4 * H)]
    memories += [Memory("UT", "matrix", H, 4 * H), Memory("delta", "carry", 4 * H)]
    return Loop((*memories, Memory("dc", "carry", H)), (w.stage(),))


def gru(H):
    """Resets before its product: two products one after the other."""
    w, x = Writing(H), Writing(H)
    r = w.sigmoid(w.add(w.product("h", 0, H, "U", 0), w.read("p", 0)))
    z = w.sigmoid(w.add(w.product("h", 0, H, "U", H), w.read("p", H)))
    w.store(w.mul(r, w.read("h")), ("rh", 0))
    w.store(z, ("z", 0))
    n = x.tanh(x.add(x.product("rh", 0, H, "U", 2 * H), x.read("p", 2 * H)))
    h = x.add(n, x.mul(x.read("z"), x.sub(x.read("h"), n)))
    x.store(h, ("h", 0), ("hs", 0))
    memories = [
        Memory("p", "step", 3 * H),
        Memory("hs", "step", H),
        Memory("U", "matrix", 3 * H, H),
    ]
    memories += [Memory(name, "scratch", H) for name in ("rh", "z")]
    return Loop((*memories, Memory("h", "carry", H)), (w.stage(), x.stage()))


def layer_norm(H):
    """tanh(norm(p + s Ws) * gain): products and reductions in one stage."""
    w, x, y = Writing(H), Writing(H), Writing(H)
    a = w.add(w.product("s", 0, H, "Ws"), w.read("p"))
    w.store(a, ("a", 0))
    w.reduce("sums", a)
    mean, again = (v.mul(v.read("sums", spread=True), v.number(1 / H)) for v in (x, y))
    centred = x.sub(x.read("a"), mean)
    x.reduce("sums", x.mul(centred, centred), offset=1)
    variance = y.mul(y.read("sums", 1, spread=True), y.number(1 / H))
    scale = y.rsqrt(y.add(variance, y.number(1e-5)))
    state = y.tanh(y.mul(y.mul(y.sub(y.read("a"), again), scale), y.read("gain")))
    y.store(state, ("s", 0), ("states", 0))
    memories = [Memory("p", "step", H), Memory("states", "step", H), Memory("gain", "weight", H)]
    memories += [Memory("a", "scratch", H), Memory("sums", "scratch", 2), Memory("s", "carry", H)]
    memories += [Memory("Ws", "matrix", H, H)]
    return Loop(tuple(memories), (w.stage(), x.stage(), y.stage()))


def softmax(H):
    """softmax(s * gate[b] + p), over what the product of a step memory adds."""
    w, x, y = Writing(H), Writing(H), Writing(H)
    a = w.add(w.mul(w.read("s"), w.read("gate")), w.product("p", 1, 3, "W"))
    w.store(a, ("a", 0))
    w.reduce("top", a, "max")
    e = x.exp(x.sub(x.read("a"), x.read("top", spread=True)))
    x.store(e, ("e", 0))
    x.reduce("total", e)
    y.store(y.div(y.read("e"), y.read("total", spread=True)), ("s", 0), ("states", 0))
    memories = [Memory("p", "step", 4), Memory("states", "step", H), Memory("gate", "sequence", H)]
    memories += [Memory(name, "scratch", H) for name in "ae"]
    memories += [Memory(name, "scratch", 1) for name in ("top", "total")]
    memories += [Memory("s", "carry", H), Memory("W", "matrix", H, 3)]
    return Loop(tuple(memories), (w.stage(), x.stage(), y.stage()))


LOOPS = [elman, elman_back, lstm, lstm_back, gru, layer_norm, softmax]

# ---- running both ------------------------------------------------------------------------------


def tensors(loop, T, B):
    """Random memories and beginnings in float64; what is stored first begins as 7."""
    shapes = {"step": (T, B), "sequence": (B,), "weight": (), "carry": (B,)}
    stored = {store.memory for stage in loop.stages for store in stage.stores}
    stored -= {v.memory for stage in loop.stages for v in stage.values if isinstance(v, Read)}
    memories, begin = {}, {}
    for name, kind, width, height in loop.memories:
        if kind == "matrix":
            memories[name] = (torch.randn(width, height, dtype=WIDE) / height**0.5).T
        elif kind != "scratch":
            made = torch.randn(*shapes[kind], width, dtype=WIDE)
            (begin if kind == "carry" else memories)[name] = made
            if kind == "step" and name in stored:
                made.fill_(7)
    return memories, begin


def cast(tensors, dtype):
    """Copies that keep a matrix's strides."""
    return {name: tensor.to(dtype, copy=True) for name, tensor in tensors.items()}


def compare(loop, T, B, rows=None, reset=None, dtype=torch.float32):
    """Runs a loop both ways on the same numbers and compares all that was stored."""
    memories, begin = (cast(cast(found, dtype), WIDE) for found in tensors(loop, T, B))
    reset = reset and (reset[0], cast(cast(reset[1], dtype), WIDE), reset[2])
    given, start = cast(memories, dtype), cast(begin, dtype)
    ends = {name: torch.full_like(tensor, 7) for name, tensor in start.items()}
    fresh = reset and Reset(reset[0], cast(reset[1], dtype), reset[2])
    kernel.make(loop, dtype).run(given, rows, start, ends, fresh)
    expected = {name: torch.full_like(tensor, 7) for name, tensor in begin.items()}
    Interpreter(loop, memories, begin, expected, reset).run(plain(rows, T, B))
    close(given, memories, dtype)
    close(ends, expected, dtype)
    if reset:
        close(fresh.fresh, reset[1], dtype)


def plain(rows, T, B):
    """Rows as the interpreter takes them."""
    sequence, start, steps, direction, *_ = rows or Rows()
    count = next((len(part) for part in (sequence, start, steps) if part is not None), B)
    sequence = range(count) if sequence is None else sequence.tolist()
    steps = [T] * count if steps is None else steps.tolist()
    start = [0 if direction == 1 else n - 1 for n in steps] if start is None else start.tolist()
    return [(b, t, n, direction) for b, t, n in zip(sequence, start, steps, strict=True)]


def close(found, expected, dtype):
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name].to(WIDE), tensor, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], msg=name
        )


# ---- tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("H", [1, 17, 100])
@pytest.mark.parametrize("make", LOOPS)
def test_loops_agree_with_the_interpreter(make, H):
    compare(make(H), 3, 7)


@pytest.mark.parametrize("make", LOOPS)
def test_double_precision(make):
    compare(make(19), 3, 7, dtype=WIDE)


@pytest.mark.parametrize("vectors", ["avx2", "neon", "sse", "scalar"])
@pytest.mark.parametrize("make", [lstm, layer_norm])
def test_narrower_machines(make, vectors, monkeypatch):
    monkeypatch.setenv("BPTT_VECTOR", vectors)
    try:
        machine()
    except BackendError:
        pytest.skip(f"this machine has no {vectors}")
    compare(make(21), 3, 7)


def test_a_kernel_is_understood_by_an_arm_processor(monkeypatch):
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    triple = "aarch64-unknown-linux-gnu"
    try:
        arm = llvm.Target.from_triple(triple).create_target_machine(cpu="neoverse-n1")
    except RuntimeError:
        pytest.skip("this llvmlite knows no other processor")
    source = program(lstm(225), lanes=4, registers=32, size=4).source  # threads may share a step
    text = translate.translate(source, ENTRIES, Shape(32, 4, True))
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.triple = triple
        assembly = arm.emit_assembly(module)
    assert all(word in assembly for word in ("fmla", "FPCR", "yield"))


@pytest.mark.parametrize(("T", "B"), [(0, 3), (3, 0), (1, 1), (2, 25)])
def test_few_and_many(T, B):
    compare(gru(20), T, B)


@pytest.mark.parametrize("make", LOOPS)
def test_reverse_and_lengths(make):
    compare(make(19), 5, 6, Rows(direction=-1))
    lengths = torch.tensor([3, 0, 5, 1, 5, 2])
    compare(make(19), 5, 6, Rows(steps=lengths))
    compare(make(19), 5, 6, Rows(start=lengths - 1, steps=lengths, direction=-1))
    compare(make(19), 5, 6, Rows(steps=lengths, direction=-1))


def test_some_sequences_from_anywhere():
    rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([1, 3, 2]), torch.tensor([2, 1, 3]))
    compare(lstm(33), 5, 5, rows)


def trailing(loop):
    """The loop, what it stores at each step in trails; and their names."""
    names = {s.memory for stage in loop.stages for s in stage.stores}
    names &= {m.name for m in loop.memories if m.kind == "step"}
    memories = tuple(
        m._replace(kind="trail") if m.name in names else m for m in loop.memories
    )  # fmt: skip
    return loop._replace(memories=memories), names


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("make", [elman_back, lstm, gru])
def test_rows_that_share_a_sequence_leave_trails_apart(make, direction):
    (loop, names), T, B = trailing(make(19)), 5, 3
    sequence, steps = torch.tensor([2, 0, 2, 2]), torch.tensor([3, 5, 2, 5])
    start = torch.tensor([1, 0, 2, 0]) if direction == 1 else torch.tensor([2, 4, 1, 4])
    memories, begin = tensors(make(19), T, B)
    memories, begin = cast(memories, torch.float32), cast(begin, torch.float32)
    begin = {name: torch.randn(4, *leaf.shape[1:]) for name, leaf in begin.items()}
    trails = {name: torch.full((T, 4, memories[name].shape[2]), 7.0) for name in names}
    ends = {name: torch.empty_like(leaf) for name, leaf in begin.items()}
    rows = Rows(sequence, start, steps, direction, apart=True)
    made = kernel.make(loop, torch.float32)
    made.run({**memories, **trails}, rows, begin, ends, shape=(T, B))
    for r, b in enumerate(sequence):
        alone = {name: leaf[r].expand(B, -1).clone() for name, leaf in begin.items()}
        given = {**memories, **{name: torch.full_like(memories[name], 7.0) for name in names}}
        own = {name: torch.empty_like(leaf) for name, leaf in alone.items()}
        one = Rows(b[None], start[r : r + 1], steps[r : r + 1], direction)
        kernel.make(make(19), torch.float32).run(given, one, alone, own)
        for name in names:
            assert torch.equal(trails[name][:, r], given[name][:, b]), name
        for name, leaf in own.items():
            assert torch.equal(ends[name][r], leaf[b]), name


def test_a_stage_may_store_where_it_reads():
    loop = lstm(40)
    (stage,) = loop.stages
    stores = tuple(s._replace(memory="p") if s.memory == "gates" else s for s in stage.stores)
    memories = tuple(memory for memory in loop.memories if memory.name != "gates")
    compare(Loop(memories, (stage._replace(stores=stores),)), 4, 7)


@pytest.mark.parametrize("mode", ["enter", "leave"])
@pytest.mark.parametrize("lengths", [None, [3, 0, 5, 1, 5, 2]])
def test_resets(mode, lengths):
    loop = lstm(17)
    fresh = {name: torch.randn(6, 17, dtype=WIDE) for name in "hc"}
    rows = lengths and Rows(steps=torch.tensor(lengths))
    compare(loop, 5, 6, rows, (torch.rand(5, 6) < 0.4, fresh, mode))


@pytest.mark.parametrize("width", [1, 17, 64])
@pytest.mark.parametrize("lengths", [None, [3, 0, 5, 1]])
def test_sums_over_a_row_s_steps(width, lengths):
    w = Writing(width)
    w.store(w.add(w.read("sum"), w.read("x")), ("sum", 0))
    loop = Loop((Memory("x", "step", width), Memory("sum", "sum", width)), (w.stage(),))
    x, found = torch.randn(5, 4, width), torch.full((4, width), math.nan)
    rows = lengths and Rows(steps=torch.tensor(lengths))
    kernel.make(loop, torch.float32).run({"x": x}, rows, {}, {"sum": found})
    live = torch.arange(5)[:, None] < torch.tensor(lengths or [5] * 4)
    assert torch.allclose(found, (x * live[..., None]).sum(0), atol=1e-6)


def outers(K, N):
    """t(x) d for rows x of K and d of N numbers, and the products d W."""
    x, d, y = Writing(K), Writing(N), Writing(K)
    x.store(x.read("x"), ("left", 0))
    d.store(d.mul(d.read("d"), d.number(2.0)), ("right", 0))
    y.store(y.product("right", 0, N, "W"), ("y", 0))
    memories = [Memory("x", "step", K), Memory("d", "step", N), Memory("y", "step", K)]
    memories += [Memory("left", "pile", K), Memory("right", "pile", N)]
    memories += [Memory("W", "matrix", K, N), Memory("total", "outer", N, K)]
    return Loop(
        tuple(memories), (x.stage(), d.stage(), y.stage()), (Outer("left", "right", "total"),)
    )


@pytest.mark.parametrize(("K", "N"), [(1, 1), (7, 17), (50, 130), (33, 64)])
@pytest.mark.parametrize(("T", "B"), [(0, 2), (1, 1), (3, 100), (50, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_products_over_rows(K, N, T, B, dtype, monkeypatch):
    """Rows that do not run count for nothing, whatever stands in their memory."""
    loop, lengths = outers(K, N), torch.randint(0, T + 1, (B,))
    x, d, W = (torch.randn(*shape, dtype=dtype) for shape in ((T, B, K), (T, B, N), (N, K)))
    live = torch.arange(T)[:, None] < lengths
    x[~live] = d[~live] = math.nan
    y, made = torch.full_like(x, math.nan), kernel.make(loop, dtype)
    monkeypatch.setattr("bptt.backends.cpu.rows.SHARE", 1)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            (found,) = made.run({"x": x, "d": d, "y": y, "W": W}, Rows(steps=lengths), {}, {})
        finally:
            torch.set_num_threads(1)
        wide = d[live].to(WIDE) * 2
        close(
            {"total": found, "y": y[live]},
            {"total": x[live].to(WIDE).T @ wide, "y": wide @ W.to(WIDE)},
            dtype,
        )


def run(loop, memories, begin, rows=None, threads=1, reset=None):
    """All that a loop stores, in float32."""
    memories, ends = cast(memories, torch.float32), {}
    start = cast(begin, torch.float32)
    ends = {name: torch.full_like(tensor, math.nan) for name, tensor in start.items()}
    torch.set_num_threads(threads)
    try:
        kernel.make(loop, torch.float32).run(memories, rows, start, ends, reset)
    finally:
        torch.set_num_threads(1)
    return memories, ends


def rows_of(tensors, rows):
    """Some sequences' part of memories and carries."""
    return {
        name: tensor[:, rows].clone() if tensor.dim() == 3 else tensor[rows].clone()
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("make", [elman, lstm_back, layer_norm])
@pytest.mark.parametrize("H", [40, 300])
def test_a_row_has_the_same_bits_in_any_company(make, H):
    loop, B = make(H), 23
    memories, begin = tensors(loop, 40, B)
    weights = {m.name for m in loop.memories if m.kind in ("matrix", "weight")}
    whole, ends = run(loop, memories, begin)
    for threads in (2, 3):
        again, _ = run(loop, memories, begin, threads=threads)
        assert all(torch.equal(again[name], whole[name]) for name in whole)
    for some in ([5], [22, 3, 4, 9, 1, 0, 11]):
        part = rows_of({k: v for k, v in memories.items() if k not in weights}, some)
        part |= {name: memories[name] for name in weights}
        alone, last = run(loop, part, rows_of(begin, some))
        named = [name for name in whole if name not in weights]
        assert all(torch.equal(alone[name], whole[name][:, some]) for name in named)
        assert all(torch.equal(last[name], ends[name][some]) for name in ends)


@pytest.fixture
def teams(monkeypatch):
    """How many threads were asked to share the columns of a step, call by call."""
    if simd.torch_team() is None:
        pytest.skip("torch's threads do not know how many they are")
    asked, together = [], simd.together
    monkeypatch.setattr(crowd, "is_crowded", lambda: False)
    monkeypatch.setattr(simd, "together", lambda *given: (asked.append(given[2]), together(*given)))
    return asked


@pytest.mark.parametrize(("make", "H"), [(gru, 264), (lstm_back, 230), (layer_norm, 450)])
@pytest.mark.parametrize("mode", ["enter", "leave", None])
def test_threads_that_share_columns_change_no_bit(make, H, mode, teams):
    loop, rows = make(H), Rows(steps=torch.tensor([5, 0, 7]))
    memories, begin = tensors(loop, 7, 3)
    mask, found = torch.rand(7, 3) < 0.3, []
    for threads in (1, 3, 4):
        fresh = {name: torch.ones_like(b, dtype=torch.float32) for name, b in begin.items()}
        reset = mode and Reset(mask, fresh, mode)
        stored, ends = run(loop, memories, begin, rows, threads, reset)
        found.append({**stored, **{f"{name}.end": end for name, end in ends.items()}})
        found[-1].update((f"{name}.fresh", tensor) for name, tensor in fresh.items())
    assert teams == [3, 4]
    assert all(torch.equal(one[name], found[0][name]) for one in found for name in found[0])


def test_a_team_within_a_team_waits_for_nobody(teams):
    loop = gru(264)
    memories, begin = tensors(loop, 7, 1)
    alone, _ = run(loop, memories, begin)
    made, found = kernel.make(loop, torch.float32), []

    def work(_):
        given, start = cast(memories, torch.float32), cast(begin, torch.float32)
        torch.set_num_threads(2)
        made.run(given, None, start, {})
        found.append(given["hs"])

    simd.torch_team().parallel(ctypes.CFUNCTYPE(None, ctypes.c_int64)(work), 0, 2)
    torch.set_num_threads(1)
    assert teams == [2, 2]
    assert all(torch.equal(hs, alone["hs"]) for hs in found)


@pytest.mark.parametrize(("make", "H"), [(gru, 40), (lstm_back, 37), (layer_norm, 50)])
def test_a_thread_that_waits_in_vain_goes_on_alone_and_changes_no_bit(make, H, teams, monkeypatch):
    loop = make(H)
    memories, begin = tensors(loop, 30, 1)
    alone, ends = run(loop, memories, begin)
    noted = []
    monkeypatch.setattr(crowd, "note", lambda: noted.append(True))
    monkeypatch.setattr("bptt.backends.cpu.program.TOGETHER", 0)
    monkeypatch.setattr("bptt.backends.cpu.meeting.PATIENCE", 1)
    make = functools.cache(lambda loop, dtype: kernel.Kernel(loop, dtype, machine()))
    monkeypatch.setattr(kernel, "make", make)
    for _ in range(10):
        found, last = run(loop, memories, begin, threads=2)
        assert all(torch.equal(found[name], alone[name]) for name in alone)
        assert all(torch.equal(last[name], ends[name]) for name in ends)
    assert noted
    assert teams == [2] * 10


def test_threads_share_columns_again_soon_unless_they_wait_in_vain_again(monkeypatch):
    now = 100.0
    monkeypatch.setattr(crowd.time, "monotonic", lambda: now)
    monkeypatch.setattr(crowd, "_until", 0.0)
    monkeypatch.setattr(crowd, "_while", 0.0)
    assert not crowd.is_crowded()
    whiles = []
    for pause in (0.0, *[crowd.SHORTEST] * 8, 10 * crowd.LONGEST):
        now += pause
        crowd.note()
        begun = now
        while crowd.is_crowded():
            now += crowd.SHORTEST / 4
        whiles.append(now - begun)
    short, long = crowd.SHORTEST, crowd.LONGEST
    wanted = [
        short,
        2 * short,
        4 * short,
        8 * short,
        16 * short,
        32 * short,
        long,
        long,
        long,
        short,
    ]
    assert whiles == pytest.approx([min(w, long) for w in wanted], abs=short / 2)


def test_a_call_made_ready_is_made_again_and_elsewhere():
    loop, T, B = lstm(20), 6, 3
    given, begin = (cast(found, torch.float32) for found in tensors(loop, T, B))
    whole, _ = run(loop, given, begin)
    carries = cast(begin, torch.float32)
    steps = [memory.name for memory in loop.memories if memory.kind == "step"]
    first = {**given, **{name: given[name][:2] for name in steps}}
    call = kernel.make(loop, torch.float32).prepare(first, None, carries, carries)
    for start in range(0, T, 2):
        for name in steps:
            call.move(name, given[name][start : start + 2])
        call.run(pack=start == 0)
    assert all(torch.equal(given[name], whole[name]) for name in whole)
    given["p"].zero_()
    call.run()
    assert not torch.equal(given["hs"], whole["hs"])
    for wrong in (given["p"], given["p"][:2].double(), given["p"][:2].transpose(0, 1)):
        with pytest.raises(ValueError, match=r"expected p to be .* contiguous numbers"):
            call.move("p", wrong)


def test_nan_stays_in_its_row():
    loop, bad = lstm(20), [1, 4]
    memories, begin = tensors(loop, 4, 6)
    lengths = torch.tensor([4, 2, 4, 1, 3, 0])
    rows = Rows(steps=lengths)
    clean, ends = run(loop, memories, begin, rows)
    memories["p"][:, bad] = math.nan
    memories["p"][torch.arange(4)[:, None] >= lengths] = math.nan
    begin["h"][bad] = begin["c"][bad] = math.inf
    dirty, last = run(loop, memories, begin, rows)
    good = [0, 2, 3, 5]
    assert all(torch.equal(dirty[k][:, good], clean[k][:, good]) for k in ("hs", "cs", "gates"))
    assert all(torch.equal(last[k][good], ends[k][good]) for k in "hc")
    assert dirty["hs"][0, 1].isnan().all()


def test_what_vanishes_becomes_zero():
    loop, T = elman_back(16), 400
    memories, begin = tensors(loop, T, 3)
    memories["d"][1:], memories["states"][:], memories["WsT"][:] = 0, 0, 0.5 * torch.eye(16)
    found, ends = run(loop, memories, begin)
    assert ends["delta"].eq(0).all()
    assert found["deltas"][100].ne(0).all()
    tiny = torch.finfo(torch.float32).tiny
    assert not ((found["deltas"] != 0) & (found["deltas"].abs() < tiny)).any()
    assert (torch.tensor(tiny) / 4).item() > 0  # outside the kernel all is as it was


FAULTS = """
import resource, torch, bptt
torch.set_num_threads(1)
cell, x = bptt.cells.LSTM(8, 64), torch.randn(500, 16, 8)
def train():
    bptt.unroll(cell, x, backend="cpu")[0].sum().backward()
for _ in range(4):
    train()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    train()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator has other ways")
def test_what_a_call_keeps_lies_where_the_last_one_s_did():
    """14 MB, 3500 pages."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert int(done.stdout) < 3500, done.stderr


def test_calls_at_once_do_not_meet():
    loop = lstm(33)
    given = [tensors(loop, 50, 5) for _ in range(4)]
    alone = [run(loop, *one)[0]["hs"] for one in given]
    found = [None] * 4

    def work(i):
        for _ in range(20):
            found[i] = run(loop, *given[i])[0]["hs"]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(p=m["p"].float()), "float64"),
        (lambda m: m.update(p=m["p"][:, :, :-1]), "12 times 5"),
        (lambda m: m.update(states=m["states"].transpose(0, 1)), "contiguous"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    memories, begin = tensors(elman(5), 3, 4)
    change(memories)
    with pytest.raises(ValueError, match=said):
        kernel.make(elman(5), WIDE).run(memories, None, begin, {})


@pytest.mark.parametrize(
    "change",
    [
        lambda stage: stage._replace(width=9),
        lambda stage: stage._replace(values=(Product("s", 1, 8, "Ws"), *stage.values[1:])),
        lambda stage: stage._replace(stores=(Store("states", 1, 3),)),
        lambda stage: stage._replace(stores=(Store("nothing", 0, 3),)),
        lambda stage: stage._replace(values=(Call("tanh", (1,)), *stage.values[1:])),
    ],
)
def test_a_loop_beyond_its_memories_is_refused(change):
    loop = elman(8)
    with pytest.raises(ValueError, match="stage 0 of a loop"):
        kernel.make(loop._replace(stages=(change(loop.stages[0]),)), WIDE)


def test_a_sum_over_rows_beyond_its_piles_is_refused():
    loop = outers(8, 5)
    with pytest.raises(ValueError, match="expected right to be a pile of 8 columns"):
        kernel.make(loop._replace(outers=(Outer("right", "left", "total"),)), WIDE)
    with pytest.raises(ValueError, match="expected x to be a memory of kind outer"):
        kernel.make(loop._replace(outers=(Outer("left", "right", "x"),)), WIDE)


def test_masks_and_odd_numbers():
    w = Writing(19)
    x, y, inf = w.read("x"), w.read("x", 19), w.number(math.inf)
    big = w.where(w.lt(x, y), inf, w.number(-math.inf))
    both = w.logical_and(w.isinf(big), w.logical_not(w.ge(y, w.number(0.5))))
    stored = w.where(w.read("m"), w.number(math.nan), w.number(-0.0))
    w.store(both, ("y", 0), ("m", 0))
    w.store(big, ("y", 19))
    w.store(w.add(both, w.gt(x, y)), ("y", 38))
    w.store(stored, ("y", 57))
    memories = Memory("x", "step", 38), Memory("y", "step", 76), Memory("m", "carry", 19)
    loop = Loop(memories, (w.stage(),))
    memories, begin = tensors(loop, 4, 3)
    ends, expected = {"m": torch.zeros(3, 19, dtype=WIDE)}, {"m": torch.zeros(3, 19, dtype=WIDE)}
    plainly = cast(memories, WIDE)
    kernel.make(loop, WIDE).run(memories, None, begin, ends)
    Interpreter(loop, plainly, begin, expected).run(plain(None, 4, 3))
    torch.testing.assert_close(memories["y"], plainly["y"], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(ends["m"], expected["m"])


# ---- loops at random ---------------------------------------------------------------------------

TAME = ["add", "sub", "mul", "maximum", "minimum", "tanh", "sigmoid", "neg", "abs", "where"]


@st.composite
def loops(draw):
    """Some stages over some memories; every number stays of moderate size."""
    size = st.integers(1, 40)
    memories = [Memory(f"x{i}", "step", draw(size)) for i in range(2)]
    memories += [Memory(f"c{i}", "carry", draw(size)) for i in range(draw(st.integers(1, 3)))]
    memories += [Memory("q", "sequence", draw(size)), Memory("w", "weight", draw(size))]
    stages, outputs = [], []
    for i in range(draw(st.integers(1, 4))):
        stage, own, target = draw(_stage(memories + outputs, i))
        stages.append(stage)
        memories += own
        outputs += target
    readable = [memory for memory in memories if memory.kind != "matrix"]
    carries = [memory for memory in memories if memory.kind == "carry"]
    stages += [draw(_update(carry, readable)) for carry in carries]
    return Loop(tuple(memories + outputs), tuple(stages))


def _pick(draw, writing, readable):
    """A read of some memory, over a range or spread."""
    fit = [m for m in readable if m.width >= writing.width]
    if fit and draw(st.booleans()):
        memory = draw(st.sampled_from(fit))
        return writing.read(memory.name, draw(st.integers(0, memory.width - writing.width)))
    memory = draw(st.sampled_from(readable))
    return writing.read(memory.name, draw(st.integers(0, memory.width - 1)), spread=True)


def _calls(draw, writing, values):
    for _ in range(draw(st.integers(1, 4))):
        operation = draw(st.sampled_from(TAME))
        pick = functools.partial(draw, st.sampled_from(values))
        if operation == "where":
            a, b = pick(), pick()
            values.append(writing.where(writing.lt(a, b), a, b))
        else:
            values.append(
                getattr(writing, operation)(*(pick() for _ in range(OPERATIONS[operation])))
            )
    return writing.tanh(values[-1])


@st.composite
def _stage(draw, memories, i):
    readable = [m for m in memories if m.kind != "matrix"]
    w = Writing(draw(st.integers(1, 40)))
    values = [_pick(draw, w, readable) for _ in range(draw(st.integers(1, 3)))]
    own = []
    for k in range(draw(st.integers(0, 3))):
        source = draw(
            st.sampled_from([m for m in readable if m.kind in ("step", "carry", "scratch")])
        )
        offset = draw(st.integers(0, source.width - 1))
        count, column = draw(st.integers(1, source.width - offset)), draw(st.integers(0, 3))
        own.append(
            Memory(f"m{i}_{k}", "matrix", w.width + column + 1, count + draw(st.integers(0, 2)))
        )
        values.append(w.tanh(w.product(source.name, offset, count, own[-1].name, column)))
    last = _calls(draw, w, values)
    kind, first = draw(st.sampled_from([("scratch", 0), ("step", 3)]))
    target, sums = Memory(f"t{i}", kind, w.width + first), Memory(f"r{i}", "scratch", 2)
    w.store(last, (target.name, first))
    w.reduce(sums.name, last)
    w.reduce(sums.name, last, "max", 1)
    return w.stage(), [*own, sums], [target]


@st.composite
def _update(draw, carry, readable):
    w = Writing(draw(st.integers(1, carry.width)))
    fine = [m for m in readable if not m.name.startswith("r")]
    last = _calls(draw, w, [_pick(draw, w, fine) for _ in range(2)])
    w.store(last, (carry.name, draw(st.integers(0, carry.width - w.width))))
    return w.stage()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(loops(), st.integers(0, 3), st.integers(0, 9), st.sampled_from([1, -1]))
def test_random_loops(loop, T, B, direction):
    compare(loop, T, B, Rows(direction=direction), dtype=WIDE)
