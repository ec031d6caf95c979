"""The machine's fused multiply-adds a second, measured in registers and by torch.mm."""

import ctypes
import threading
import time

import llvmlite.binding as llvm
import torch

CHAINS = 12  # independent sums: more than latency (4) times units (2), fewer than registers (16)
TIMES = 2_000_000


def fma_gflops(threads: int) -> float:
    """Most GFLOP/s of a loop of nothing but vector FMAs on registers, one on each thread."""
    lanes = _lanes()
    engine = _compile(_source(lanes))
    loop = ctypes.CFUNCTYPE(None, ctypes.c_int64)(engine.get_function_address("fmas"))
    best = min(_together(loop, threads) for _ in range(30))
    return 2 * lanes * CHAINS * TIMES * threads / best / 1e9


def product_gflops() -> float:
    """Most GFLOP/s of torch.mm on (1024, 1024) float32, on torch's threads."""
    a, b = torch.randn(2, 1024, 1024)
    out = torch.empty(1024, 1024)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(seconds) / 1e9


def _together(loop: ctypes._CFuncPtr, threads: int) -> float:
    team = [threading.Thread(target=loop, args=(TIMES,)) for _ in range(threads)]
    start = time.perf_counter()
    for member in team:
        member.start()
    for member in team:
        member.join()
    return time.perf_counter() - start


def _lanes() -> int:
    """Floats in the machine's widest vector."""
    features = llvm.get_host_cpu_features()
    return next((n for name, n in (("avx512f", 16), ("avx", 8)) if features.get(name)), 4)


def _source(lanes: int) -> str:
    """LLVM's assembly: x_i <- x_i * x_i + 1/4 from 0, kept alive by a store at the end."""
    kind, chains = f"<{lanes} x float>", range(CHAINS)
    quarter = f"<{', '.join(['float 0.25'] * lanes)}>"
    start = [f"%x{i} = phi {kind} [zeroinitializer, %entry], [%z{i}, %loop]" for i in chains]
    body = [f"%z{i} = call {kind} @fma({kind} %x{i}, {kind} %x{i}, {kind} %y)" for i in chains]
    keep = [f"store volatile {kind} %z{i}, ptr %spot" for i in chains]
    lines = "\n".join
    return f"""
declare {kind} @llvm.fma.v{lanes}f32({kind}, {kind}, {kind})
define void @fmas(i64 %n) {{
entry:
  %spot = alloca {kind}
  store volatile {kind} {quarter}, ptr %spot
  %y = load volatile {kind}, ptr %spot
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  {lines(start)}
  {lines(body).replace("@fma", f"@llvm.fma.v{lanes}f32")}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  {lines(keep)}
  ret void
}}
"""


def _compile(source: str) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), machine)
    engine.finalize_object()
    return engine
