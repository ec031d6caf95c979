"""What `import bptt` gives, each name imported when it is first used; and who imports whom."""

import ast
import gc
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

import bptt

FRESH = """
import sys, bptt
print("torch" in sys.modules, set(bptt.__all__) <= set(dir(bptt)))
import bptt.testing                     # imports bptt.unroll, the module
print(callable(bptt.unroll), bptt.unroll is sys.modules["bptt.unroll"].unroll)
"""


def test_names_come_when_they_are_used_and_torch_with_them():
    said = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "True", "True", "True"]


@pytest.mark.parametrize("name", bptt.__all__)
def test_a_public_name_can_be_had_in_every_way(name):
    into = {}
    exec("from bptt import *", into)
    exec(f"from bptt import {name} as named", into)
    assert into[name] is into["named"] is getattr(bptt, name)
    if not isinstance(into[name], types.ModuleType):
        assert pickle.loads(pickle.dumps(into[name])) == into[name]


def test_a_name_that_is_not_there_is_refused_as_ever():
    with pytest.raises(AttributeError, match="module 'bptt' has no attribute 'unrol'"):
        bptt.unrol  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'unrol'"):
        exec("from bptt import unrol")


def rooms_imported(path: Path) -> set[str]:
    """The rooms of the package that a file imports from, wherever in the file it does."""
    froms = [node for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.ImportFrom]
    below = {node.module.split(".")[1] for node in froms if (node.module or "").startswith("bptt.")}
    return below | {alias.name for node in froms if node.module == "bptt" for alias in node.names}


def test_imports_point_down_the_list_of_rooms():
    root = Path(bptt.__file__).parent
    table = (
        (Path(__file__).parents[1] / "CONTRIBUTING.md")
        .read_text()
        .split("| room |")[1]
        .split("\n\n")[0]
    )
    storeys = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    height = {room: -storey for storey, rooms in enumerate(storeys) for room in rooms}
    rooms = {path.name for path in root.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(height)
    upward = [
        f"{path.relative_to(root)} imports {other}"
        for room in height
        for path in [*(root / room).rglob("*.py"), root / f"{room}.py"]
        if path.exists()
        for other in rooms_imported(path) & set(height)
        if height[other] > height[room]
    ]
    assert not upward


@pytest.mark.parametrize("at_work", [True, False])
def test_the_collector_is_as_it_was_once_a_plan_is_made(at_work):
    def broken(x, s):
        assert not gc.isenabled()
        raise KeyError("of the step's own")

    (gc.enable if at_work else gc.disable)()
    try:
        with pytest.raises(KeyError):
            bptt.unroll(broken, torch.zeros(3, 2, 4), torch.zeros(2, 4), backend="cpu")
        assert gc.isenabled() == at_work
    finally:
        gc.enable()
