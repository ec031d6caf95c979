"""LLVM set up for this machine: its processor, with no more features than are wanted."""

import functools

import llvmlite
import llvmlite.binding as llvm

# What is switched off so that no vector is wider than asked for.
WITHOUT = {"avx2": ("avx512f",), "sse": ("avx",), "scalar": ("avx",)}


def identity(name: str) -> tuple[str, ...]:
    """What code for the vectors `name` depends on, apart from its source."""
    version = ".".join(str(part) for part in llvm.llvm_version_info)
    return llvmlite.__version__, version, llvm.get_host_cpu_name(), features(name)


@functools.cache
def features(name: str) -> str:
    """The features that code for the vectors `name` may use, in LLVM's spelling."""
    found = llvm.get_host_cpu_features()
    kept = [f"{'+' if there else '-'}{feature}" for feature, there in sorted(found.items())]
    without = [f"-{feature}" for feature in WITHOUT.get(name, ()) if feature in found]
    return ",".join([*kept, *without])


@functools.cache
def target(name: str) -> llvm.TargetMachine:
    """The compiler of code for the vectors `name`."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=features(name),
        opt=2,
        reloc="pic",
        codemodel="default",
    )
