"""What `import bptt` gives: every public name, each imported when it is first used."""

import pickle
import subprocess
import sys
import types

import pytest

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
