"""Vectors of numbers on this machine: what kernels are written in, compiled, stored and run."""

from bptt.backends.cpu.simd.code import Code, build, compiled
from bptt.backends.cpu.simd.machines import Machine, machine
from bptt.backends.cpu.simd.team import run, together, torch_team

__all__ = ["Code", "Machine", "build", "compiled", "machine", "run", "together", "torch_team"]
