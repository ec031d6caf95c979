"""What the pages show runs and prints what they say; what they name is there."""

import doctest
import re
import runpy
import shlex
import types
from importlib import import_module
from pathlib import Path

import pytest

import bptt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ELSEWHERE = {"which_way_back.md", "lesson.md"}  # test_examples.py and test_lesson.py run these
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _name(page):
    return page.relative_to(DOCS).as_posix()


def _fences(page, *kinds):
    return [found for found in FENCE.findall(page.read_text()) if found[0] in kinds]


WITH_CODE = [p for p in PAGES if _fences(p, "python") and p.name not in ELSEWHERE]


@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
@pytest.mark.filterwarnings("ignore")
def test_code_runs_from_top_to_bottom_and_prints_what_is_shown(page, capsys, tmp_path, monkeypatch):
    """A block of text after one of Python is what that one prints; `...` stands for anything."""
    monkeypatch.chdir(tmp_path)
    checker, loosely = SHOWN
    names = {"__name__": page.stem}
    for kind, code in _fences(page, "python", "text"):
        if kind == "python":
            said = capsys.readouterr().out
            exec(compile(code, f"{_name(page)}", "exec"), names)
            said = capsys.readouterr().out
        else:
            assert checker.check_output(code, said, loosely), f"printed:\n{said}\nshown:\n{code}"


def _commands():
    blocks = [text for page in PAGES for _, text in _fences(page, "console")]
    lines = {line for text in blocks for line in re.findall(r"^\$ (bptt .*)$", text, re.MULTILINE)}
    return sorted(lines)


@pytest.mark.parametrize("line", _commands())
def test_the_command_has_the_options_that_pages_show(line):
    from bptt.cli.verbs import app

    for words in line.split(" && "):
        _, *tokens = shlex.split(words)
        app.parse_args(tokens, exit_on_error=False, print_error=False)


def _targets(page):
    text = FENCE.sub("", page.read_text())
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere_in_the_repository(page):
    here = [t for t in _targets(page) if not re.match(r"https?:", t)]
    files = {t: (page.parent / t.partition("#")[0]) if t[0] != "#" else page for t in here}
    assert not [t for t, file in files.items() if not file.exists()]
    for target, file in files.items():
        _, _, anchor = target.partition("#")
        assert not anchor or anchor in _anchors(file), f"{target}: no such heading"


def _anchors(page):
    """What GitHub and MyST both call the headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_page_is_in_the_table_of_contents():
    trees = re.findall(r"{toctree}(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = re.findall(r"^([\w/]+)$", "\n".join(trees), re.MULTILINE)
    assert sorted(f"{entry}.md" for entry in listed) == sorted({*map(_name, PAGES)} - {"index.md"})


def test_docstrings_are_made_fit_for_the_site():
    names = runpy.run_path(str(DOCS / "extensions" / "docstrings.py"))
    (test,) = doctest.DocTestFinder().find(names["as_text"], "as_text", globs=names)
    assert doctest.DocTestRunner().run(test) == (0, 1)


# The reference


def _documented():
    text = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    return set(re.findall(r"^\.\. (?:auto\w+):: ([\w.]+)", text, re.MULTILINE))


def _exported(room):
    """What a room says it exports, else what it defines."""
    module = import_module(room)
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", "") == room)
    named = getattr(module, "__all__", [n for n in own if not n.startswith("_")])
    return {name: getattr(module, name) for name in named}


def test_reference_has_every_public_name():
    named = _documented()
    rooms = {f"bptt.{n}" for n in bptt.__all__ if isinstance(getattr(bptt, n), types.ModuleType)}
    assert rooms <= named
    shown = [v for room in rooms for v in _exported(room).values()]
    alone = {f"bptt.{n}" for n, v in _exported("bptt").items() if not any(v is s for s in shown)}
    assert alone - rooms - {"bptt.__version__"} <= named
    mute = {f"{room}.{n}" for room in rooms for n, v in _exported(room).items() if not v.__doc__}
    assert mute <= named
