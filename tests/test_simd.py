"""Words of kernels against torch in float64; translation, cache and team."""

import ctypes
import math
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bptt.backends.cpu import simd
from bptt.backends.cpu.simd import (
    code,
    coefficients,
    fit,
    libm,
    machines,
    store,
    team,
    translate,
)
from bptt.backends.cpu.simd.vector import Shape
from bptt.compiler.stages import MASKS, OPERATIONS
from bptt.errors import BackendError

DTYPES = (torch.float32, torch.float64)
MACHINES = machines.available()
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -2.5, 3.0, 7.25, 1e-30, 1e30, math.inf, -math.inf,
           math.nan)  # fmt: skip
LOGICAL = [name for name in OPERATIONS if name.startswith("logical")]
POINTWISE = [name for name in OPERATIONS if name not in LOGICAL and name != "where"]
# Units in the last place; where torch's float64 is all there is to compare with, one more.
BOUND = dict.fromkeys(("erfc", "sinh", "cosh"), 4.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BPTT_CACHE", str(tmp_path_factory.getbasetemp() / "kernels"))


# ---- operations --------------------------------------------------------------------------------


def word(name):
    """The source of a function that maps a word over numbers."""
    letters = "abc"[: OPERATIONS[name]]
    given = [f"load(integer(block, {i}), j)" for i in range(len(letters))]
    logical = name in LOGICAL
    given = [f"mask({v})" if logical or (name == "where" and not i) else v
             for i, v in enumerate(given)]  # fmt: skip
    value = f"{name}({', '.join(given)})"
    return f"""
def {name}_(block):
    for j in range(0, integer(block, 4), LANES):
        store(integer(block, 3), j, {f"number({value})" if name in MASKS else value})
"""


def mapped(name, *given):
    """A word over tensors whose size is a multiple of 16."""
    source, entries = "".join(map(word, OPERATIONS)), tuple(f"{name}_" for name in OPERATIONS)
    made = simd.build(source, entries, given[0].dtype)
    found = torch.full_like(given[0], math.nan)
    addresses = [x.data_ptr() for x in given] + [0] * (3 - len(given))
    block = torch.tensor([*addresses, found.data_ptr(), found.numel()])
    simd.run(made.addresses[f"{name}_"], block.data_ptr(), 1)
    return found


def sample(dtype, count):
    """Half of all numbers there are, by their bits, half of usual size."""
    bits = torch.iinfo(torch.int32 if dtype == torch.float32 else torch.int64)
    whole = torch.randint(bits.min, bits.max, (count // 2,))
    anything = whole.to(getattr(torch, f"int{bits.bits}")).view(dtype)
    usual = torch.randn(count // 2, dtype=torch.float64) * 10 ** (4 * torch.rand(count // 2) - 3)
    return torch.cat([anything, usual.to(dtype)])[torch.randperm(count)].contiguous()


def units(found, expected):
    """How far off, in units in the last place of what is expected; infinite for another NaN."""
    want = expected.to(found.dtype)
    gap = torch.nextafter(want.abs(), torch.tensor(math.inf, dtype=found.dtype)) - want.abs()
    off = (found.double() - expected.double()).abs() / gap.double()
    off[(found == want) | (found.isnan() & want.isnan())] = 0
    return off.nan_to_num(nan=math.inf)


@pytest.fixture(params=MACHINES)
def vectors(request, monkeypatch):
    monkeypatch.setenv("BPTT_VECTOR", request.param)
    return request.param


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_operations_over_all_numbers(vectors, dtype):
    for name in POINTWISE:
        x = [sample(dtype, 1 << 14) for _ in range(OPERATIONS[name])]
        if name in ("fmod", "remainder"):  # torch gives NaN for large quotients
            x[1] = torch.where((x[0] / x[1]).abs() < 1e6, x[1], 3.0)
            expected = getattr(torch, name)(*x)
        else:
            expected = getattr(torch, name)(*(v.double() for v in x))
        known = expected.double()
        if name == "sigmoid":  # torch's left tail ends early
            known = torch.where(x[0] < -40, x[0].double().exp(), known)
        bound = BOUND.get(name, 2.0) + (dtype == torch.float64)
        off = units(mapped(name, *x), known)
        at = off.argmax()
        assert off[at] <= bound, (name, off[at], [v[at] for v in x])


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "sigmoid", "log", "log1p", "log2"])
def test_formulas_in_float64_against_arithmetic_of_more_digits(vectors, name):
    truth = {"sigmoid": lambda v: 1 / (1 + mpmath.exp(-v)), "log2": lambda v: mpmath.log(v, 2)}
    exact = truth.get(name, getattr(mpmath, name, None))
    draw = random.Random(0)
    x = [draw.gauss(0, 1) * 10 ** draw.uniform(-3, 1.5) for _ in range(500)]
    x += [draw.choice((1, -1)) * 10 ** draw.uniform(-320, 308) for _ in range(140)]
    x = [abs(v) for v in x] if name.startswith("log") else x
    found = mapped(name, torch.tensor(x, dtype=torch.float64)).tolist()
    with mpmath.workprec(120):
        for v, y in zip(x, found, strict=True):
            want = exact(mpmath.mpf(v))
            near = float(want)
            assert y == near or abs(y - want) <= 2 * math.ulp(near), (v, y, near)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_corner_cases_are_torch_s(vectors, name, dtype):
    special = torch.tensor(SPECIAL, dtype=dtype)
    pairs = torch.cartesian_prod(special, special)
    a, b = torch.nn.functional.pad(pairs, (0, 0, 0, -len(pairs) % 16)).t().contiguous()
    x = [a, b, b.flip(0).contiguous()][: OPERATIONS[name]]
    given = [v != 0 if name == "where" and not i else v for i, v in enumerate(x)]
    expected = getattr(torch, name)(*given).to(dtype)
    found = mapped(name, *x)
    if name in ("fmod", "remainder"):  # torch gives NaN for large quotients
        expected = torch.where((x[0] / x[1]).abs() < 1e6, expected, found)
    assert units(found, expected).max() <= 4
    if name not in ("maximum", "minimum"):  # of 0 and -0 either will do
        assert torch.equal(found.signbit() & (found == 0), expected.signbit() & (expected == 0))


def test_polynomials_are_what_their_script_finds():
    known = fit.FITS[0]
    assert fit.rounded(fit.remez(known, 6), 32) == list(coefficients.EXPM1[32])


# ---- memory ------------------------------------------------------------------------------------

PARTS = """
def parts(block):
    n = integer(block, 2)
    store_part(integer(block, 1), 0, load_part(integer(block, 0), 0, n) + splat(1.0), n)
    v = load_part(integer(block, 0), 0, n)
    put(integer(block, 3), 0, total(v))
    put(integer(block, 3), 1, largest(v))
"""


def at_the_end_of_a_page(count, dtype):
    """A tensor whose end is also the end of the memory that may be touched."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(place + page), page, 0) == 0
    start = page - count * dtype.itemsize
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=start)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_parts_of_vectors(vectors, dtype):
    made = simd.build(PARTS, ("parts",), dtype)
    for n in range(1, simd.machine().lanes[str(dtype)[6:]] + 1):
        x, y = at_the_end_of_a_page(n, dtype), at_the_end_of_a_page(n, dtype)
        x.copy_(torch.rand(n))
        sums = torch.zeros(2, dtype=dtype)
        block = torch.tensor([x.data_ptr(), y.data_ptr(), n, sums.data_ptr()])
        simd.run(made.addresses["parts"], block.data_ptr(), 1)
        assert torch.equal(y, x + 1)
        torch.testing.assert_close(sums, torch.stack([x.sum(), x.max()]))


def test_the_largest_of_a_vector_passes_nan_on():
    made = simd.build(PARTS, ("parts",), torch.float32)
    lanes = simd.machine().lanes["float32"]
    x, sums = torch.zeros(lanes), torch.zeros(2)
    x[lanes // 2] = math.nan
    block = torch.tensor([x.data_ptr(), x.data_ptr(), lanes, sums.data_ptr()])
    simd.run(made.addresses["parts"], block.data_ptr(), 1)
    assert sums.isnan().all()


TURN = """
def turned(block):
    turn(integer(block, 1), LANES + 1, integer(block, 0), LANES + 2)
"""


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_square_is_turned(vectors, dtype):
    made, lanes = simd.build(TURN, ("turned",), dtype), simd.machine().lanes[str(dtype)[6:]]
    x, y = torch.randn(lanes, lanes + 2, dtype=dtype), torch.zeros(lanes, lanes + 1, dtype=dtype)
    block = torch.tensor([x.data_ptr(), y.data_ptr()])
    simd.run(made.addresses["turned"], block.data_ptr(), 1)
    assert torch.equal(y[:, :lanes], x[:, :lanes].t())
    assert not y[:, lanes:].any()


# ---- translation -------------------------------------------------------------------------------

INTEGERS = """
def larger(a, b):
    return a if a > b else b


def write(place, i, value):
    put_integer(place, i, value)


def f(block):
    a = integer(block, 0)
    b = integer(block, 1)
    result = integer(block, 2)
    count = 0
    for i in range(a, b, 3):
        count += i
    while count > 100 or count < -100:
        count = count // 2
    a, b = b, a
    safe = 1 if a == 0 or b // a >= 0 else 0
    found = (b // 7) * 1000000 + (b % 7) * 10000 + larger(a, b) * 100 + safe + min(a, 3) - count
    for bit in range(0, 62):
        put(result, bit, splat_one(found >> bit & 1))


def splat_one(bit):
    return 1.0 if bit else 0.0
"""


def python(a, b):
    """What `INTEGERS` says, by Python."""
    count = sum(range(a, b, 3))
    while count > 100 or count < -100:
        count = count // 2
    safe = 1 if b == 0 or a // b >= 0 else 0
    first, second = b, a
    found = (second // 7) * 1000000 + (second % 7) * 10000 + max(first, second) * 100
    return found + safe + min(first, 3) - count


@given(st.integers(-500, 500), st.integers(-500, 500))
def test_integers_are_python_s(a, b):
    made = simd.build(INTEGERS, ("f",), torch.float32)
    bits = torch.zeros(62)
    block = torch.tensor([a, b, bits.data_ptr()])
    simd.run(made.addresses["f"], block.data_ptr(), 1)
    found = sum(int(bit) << i for i, bit in enumerate(bits.tolist()))
    assert found == python(a, b) % 2**62


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = 1; x = 1.0", "x to stay i64"),
        ("x = y", "a name that has a value, got y"),
        ("x = tanh(1.0)", "a number becomes one by splat"),
        ("x = sinus(splat(1.0))", "got sinus"),
        ("x = [1]", "got List"),
        ("for i in block: pass", "expected a range"),
        ("x = store(block, 0, splat(1.0))", "that returns none"),
        ("x = 1 + 1.0", "two of a kind"),
        ("x = tanh(splat(1.0), splat(1.0))", "argument"),
    ],
)
def test_what_is_no_kernel_is_refused_with_its_line(line, said):
    with pytest.raises(translate.SourceError, match=said) as error:
        translate.translate(f"def f(block):\n    {line}\n", ("f",), Shape(32, 4, True))
    assert "line 2" in str(error.value)


@pytest.mark.parametrize("bits", [32, 64])
def test_all_words_are_understood_by_another_processor(bits):
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    try:
        arm = llvm.Target.from_triple(triple).create_target_machine(cpu="neoverse-n1")
    except RuntimeError:
        pytest.skip("this llvmlite knows no other processor")
    source, entries = "".join(map(word, OPERATIONS)), tuple(f"{name}_" for name in OPERATIONS)
    text = translate.translate(source, entries, Shape(bits, 128 // bits, True))
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.triple = triple
        lines = [line.split() for line in arm.emit_assembly(module).splitlines()]
    called = {
        line[1].removesuffix("f" if bits == 32 else "") for line in lines if line[:1] == ["bl"]
    }
    assert "tanh" not in called
    assert called <= {*libm.FUNCTIONS, *libm.ROUNDING}


# ---- cache -------------------------------------------------------------------------------------

ONE = """
def f(block):
    put(integer(block, 0), 0, 1.0)
"""


def as_a_new_process(monkeypatch):
    monkeypatch.setattr(code, "_codes", {})


def one():
    """Builds and runs `ONE`; gives how many sources that compiled."""
    before, x = simd.compiled(), torch.zeros(1)
    made = simd.build(ONE, ("f",), torch.float32)
    block = torch.tensor([x.data_ptr()])
    simd.run(made.addresses["f"], block.data_ptr(), 1)
    assert x == 1
    return simd.compiled() - before


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BPTT_CACHE", str(tmp_path / "new" / "cache"))
    as_a_new_process(monkeypatch)
    return tmp_path / "new" / "cache"


def test_compiled_once_and_kept_with_its_source(cache, monkeypatch):
    assert one() == 1
    assert one() == 0
    as_a_new_process(monkeypatch)
    assert one() == 0
    assert [path.read_text() for path in cache.glob("*.py")] == [ONE]


def test_other_vectors_and_dtypes_are_other_files(cache, monkeypatch):
    for name in MACHINES:
        monkeypatch.setenv("BPTT_VECTOR", name)
        assert one() == 1
    simd.build(ONE, ("f",), torch.float64)
    assert len(list(cache.glob("*.o"))) == len(MACHINES) + 1


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b + b"x",
                                    lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:]])  # fmt: skip
def test_a_damaged_file_is_compiled_anew(cache, monkeypatch, damage):
    one()
    (path,) = cache.glob("*.o")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    as_a_new_process(monkeypatch)
    assert one() == 1
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_said_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BPTT_CACHE", str(tmp_path / "file" / "cache"))
    as_a_new_process(monkeypatch)
    store._warn.cache_clear()
    with pytest.warns(UserWarning, match="BPTT_CACHE"):
        assert one() == 1
    as_a_new_process(monkeypatch)
    with warnings.catch_warnings(action="error"):
        assert one() == 1


def test_a_user_without_a_home(tmp_path, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BPTT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(store.Path, "home", home)
    as_a_new_process(monkeypatch)
    store._warn.cache_clear()
    with pytest.warns(UserWarning, match="home directory. Set BPTT_CACHE"):
        assert one() == 1


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("BPTT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.folder() == tmp_path / "bptt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.folder() == tmp_path / ".cache" / "bptt"


def test_old_files_go(cache, monkeypatch):
    monkeypatch.setattr(store, "KEPT", 5)
    for i in range(6):
        store.write(f"key{i}", b"code", "source")
        os.utime(cache / f"key{i}.o", (i, i))
    (cache / "dead.part").touch()
    os.utime(cache / "dead.part", (0, 0))
    store.write("key6", b"code", "source")
    assert sorted(path.stem for path in cache.glob("*.o")) == [f"key{i}" for i in range(2, 7)]
    assert len(list(cache.iterdir())) == 10


def forked(work):
    """Starts a process that does `work` and exits with 0 if it could."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def ended(child):
    """The exit status of a process that takes no more than half a minute."""
    for _ in range(3000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError("a forked process hung")


def test_processes_at_once_and_one_killed_while_it_writes(cache, monkeypatch):
    def killed():
        store.Path.replace = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
        one()

    assert ended(forked(killed)) == -signal.SIGKILL
    assert not list(cache.glob("*.o"))
    assert {ended(child) for child in [forked(one) for _ in range(3)]} == {0}
    assert one() == 0


def test_threads_at_once_compile_once(cache):
    counts, before = [], simd.compiled()
    threads = [threading.Thread(target=lambda: counts.append(one())) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(counts) == 4
    assert simd.compiled() - before == 1


# ---- team --------------------------------------------------------------------------------------

SHARES = """
def f(block):
    place = integer(block, 1)
    i = claim(block, 0)
    for n in range(100):
        put(place, i, element(place, i) + 1.0)
"""


def shares(count):
    """Runs shares that each count to 100, many times over."""
    made = simd.build(SHARES, ("f",), torch.float32)
    for _ in range(20):
        x = torch.zeros(count)
        block = torch.tensor([0, x.data_ptr()])
        simd.run(made.addresses["f"], block.data_ptr(), count)
        assert torch.equal(x, torch.full((count,), 100.0))


@pytest.mark.parametrize("count", [1, 2, 3, 50])
@pytest.mark.parametrize("pool", [False, True])
def test_every_share_runs_once(count, pool, monkeypatch):
    if pool:
        monkeypatch.setattr(team, "_parallel", lambda: None)
    shares(count)


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP there")
def test_shares_run_on_torch_s_own_threads():
    assert team.torch_team() is not None


def test_threads_at_once():
    failed = []

    def work():
        try:
            shares(3)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failed


def test_from_autograd_s_thread_and_in_a_nested_call():
    class Nested(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            shares(2)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            shares(2)
            with torch.enable_grad():
                leaf = torch.ones(1, requires_grad=True)
                inner = leaf * 3
                inner.backward()
            shares(3)
            return grad * leaf.grad

    x = torch.ones(1, requires_grad=True)
    Nested.apply(x).backward()
    assert x.grad == 3


def test_in_a_forked_process():
    torch.set_num_threads(2)
    try:
        shares(2)  # there is a team now, and the child has none
        assert ended(forked(lambda: shares(2))) == 0
    finally:
        torch.set_num_threads(1)


# ---- without ------------------------------------------------------------------------------------


def test_vectors_that_are_not_there(monkeypatch):
    monkeypatch.setenv("BPTT_VECTOR", "avx1024")
    with pytest.raises(BackendError, match=r"one of .*scalar.*got 'avx1024'"):
        simd.machine()


def test_without_llvmlite():
    source = """
import sys
sys.modules["llvmlite"] = None
import torch
from bptt.backends.cpu import simd
from bptt.errors import BackendError
try:
    simd.build("def f(block): pass", ("f",), torch.float32)
except BackendError as error:
    assert "install" in str(error) and "reference" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=120)
