"""What a processor's threads are told: how to compute with small numbers, and to wait.

Vanishing gradients pass through numbers too small for full precision on their way to 0, and most
processors take a hundred times as long for those. So kernels let them be 0.
"""

import platform

from llvmlite import ir

from bptt.backends.cpu.simd.vector import LANE, Value, call

BYTE, WIDE = ir.IntType(8), ir.IntType(64)
X86_ZEROS = 0x8040  # results and operands too small count as 0
ARM_ZEROS = 1 << 24


class Control:
    """The register of an x86 processor, and where it is kept meanwhile.

    Args:
        builder: where instructions go.
        place: points to an int64.
    """

    def __init__(self, builder: ir.IRBuilder, place: Value) -> None:
        self.builder, self.place = builder, place

    @staticmethod
    def here(builder: ir.IRBuilder, place: Value) -> "Control | None":
        """This machine's; None where it is not known how to."""
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            return Control(builder, place)
        return ArmControl(builder, place) if machine in ("arm64", "aarch64") else None

    def flush(self) -> None:
        """Keeps the register, then sets it: the lower half of the place has it as it was."""
        self._access("st", 0)
        before = self.builder.load(self._half(LANE, 0))
        self.builder.store(self.builder.or_(before, LANE(X86_ZEROS)), self._half(LANE, 1))
        self._access("ld", 1)

    def restore(self) -> None:
        """As it was."""
        self._access("ld", 0)

    def _half(self, kind: ir.Type, number: int) -> Value:
        halves = self.builder.bitcast(self.place, LANE.as_pointer())
        half = self.builder.gep(halves, [LANE(number)])
        return self.builder.bitcast(half, kind.as_pointer())

    def _access(self, way: str, half: int) -> None:
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer()])
        call(self.builder, f"llvm.x86.sse.{way}mxcsr", kind, [self._half(BYTE, half)])


def pause(builder: ir.IRBuilder) -> None:
    """Lets a thread that waits leave the processor's units to others."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        call(builder, "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), []), [])
    elif machine in ("arm64", "aarch64"):
        call(builder, "llvm.aarch64.hint", ir.FunctionType(ir.VoidType(), [LANE]), [LANE(1)])


class ArmControl(Control):
    """The register of an ARM processor."""

    def flush(self) -> None:
        """Keeps the register, then sets it."""
        before = call(self.builder, "llvm.aarch64.get.fpcr", ir.FunctionType(WIDE, []), [])
        self.builder.store(before, self.place)
        self._set(self.builder.or_(before, WIDE(ARM_ZEROS)))

    def restore(self) -> None:
        """As it was."""
        self._set(self.builder.load(self.place))

    def _set(self, value: Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [WIDE])
        call(self.builder, "llvm.aarch64.set.fpcr", kind, [value])
