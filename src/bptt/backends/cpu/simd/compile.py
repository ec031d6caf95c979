"""From a kernel's source to an object file's bytes."""

import llvmlite.binding as llvm

from bptt.backends.cpu.simd.machines import Machine
from bptt.backends.cpu.simd.target import target
from bptt.backends.cpu.simd.translate import translate
from bptt.backends.cpu.simd.vector import Shape


def compile_source(source: str, entries: tuple[str, ...], real: str, machine: Machine) -> bytes:
    """The object file of the functions `entries` of a source.

    Args:
        source: of the kernel.
        entries: functions that take the address of a block.
        real: `"float32"` or `"float64"`.
        machine: what vectors to use.
    """
    shape = Shape(
        int(real[-2:]), machine.lanes[real], machine.fused, scales=machine.name == "avx512"
    )
    text = translate(source, entries, shape)
    with llvm.create_context() as context, llvm.parse_assembly(text, context) as module:
        module.verify()
        optimise(module, machine.name)
        return target(machine.name).emit_object(module)


def optimise(module: llvm.ModuleRef, name: str) -> None:
    """LLVM's usual passes, without those that make vectors of scalars: they are made already."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(target(name), options)
    builder.getModulePassManager().run(module, builder)
