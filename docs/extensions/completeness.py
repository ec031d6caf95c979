"""Fails the build where something public is not in the reference."""

from importlib import import_module
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

import bptt

HERE_TOO = {"__version__"}  # told in a sentence


def public() -> set[str]:
    """Every public name, as it is imported."""
    found = set()
    for name in set(bptt.__all__) - HERE_TOO:
        thing = getattr(bptt, name)
        if isinstance(thing, ModuleType):
            found |= {f"bptt.{name}.{inner}" for inner in exported(import_module(f"bptt.{name}"))}
        else:
            found.add(f"bptt.{name}")
    return found


def exported(room: ModuleType) -> set[str]:
    """What a room says it exports, else what it defines."""
    own = {n for n, v in vars(room).items() if getattr(v, "__module__", "") == room.__name__}
    return set(getattr(room, "__all__", {n for n in own if not n.startswith("_")}))


def check(app: Sphinx, env: Any) -> None:
    written = set(env.domains.python_domain.objects)
    elsewhere = {f"bptt.{name.rpartition('.')[2]}" for name in written}  # methods.Full is bptt.Full
    for name in sorted(public() - written - elsewhere):
        getLogger(__name__).warning("%s is public and not in the reference", name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
