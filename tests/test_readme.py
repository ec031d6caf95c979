"""What README shows runs, and what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert float(re.findall(r"[\d.]+", capsys.readouterr().out)[0]) > 0


def test_the_pages_it_names_are_there():
    pages = re.findall(r"\]\((.*?)(?:#.*?)?\)", README)
    missing = [page for page in pages if not (ROOT / page).exists()]
    assert pages
    assert not missing


def test_the_make_targets_it_names_are_there():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^ +make (\w+)", README, re.MULTILINE))
    assert targets == {"demo", "test"}
    assert all(f"\n{target}:" in makefile for target in targets)
