"""LLVM set up for this machine: its processor, with no more features than are wanted."""

import functools
import threading

import llvmlite.binding as llvm

# What is switched off so that no vector is wider than asked for.
WITHOUT = {"avx512": [], "avx2": ["avx512f"], "neon": [], "sse": ["avx"], "scalar": ["avx"]}
lock = threading.RLock()  # one thread at a time asks LLVM for something


def processor() -> str:
    """The processor's name."""
    return llvm.get_host_cpu_name()


@functools.cache
def features(name: str) -> str:
    """The features that code for the vectors `name` may use, in LLVM's spelling."""
    found = llvm.get_host_cpu_features()
    kept = [f"{'+' if there else '-'}{feature}" for feature, there in sorted(found.items())]
    return ",".join([*kept, *(f"-{feature}" for feature in WITHOUT[name] if feature in found)])


@functools.cache
def target(name: str) -> llvm.TargetMachine:
    """The compiler of code for the vectors `name`."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=processor(), features=features(name), opt=2, reloc="pic", codemodel="default"
    )
