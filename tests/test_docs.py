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
import notebooks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ELSEWHERE = {"which_way_back.md", "lesson.md"}  # test_examples.py and test_lesson.py run these
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEASURED = re.compile(
    r"-?\d+(?:\.\d+)?e[-+]?\d+|-?\d+\.\d+|\d+(?=%)|\d+(?= of \d+ steps)|(?<=Truncated\(1, )\d+"
)
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _name(page):
    return page.relative_to(DOCS).as_posix()


def _fences(page, *kinds):
    return [found for found in FENCE.findall(page.read_text()) if found[0] in kinds]


def _agree(shown, said):
    """The same words; measured numbers, which machines round as they do, about the same."""
    words = (MEASURED.sub("#", text) for text in (shown, said))
    same = doctest.OutputChecker().check_output(*words, LOOSELY)
    return same and all(map(_near, MEASURED.findall(shown), MEASURED.findall(said)))


def _near(shown, said):
    """Within a third, or the last of two digits; powers of ten within a factor of three."""
    room = {"rel": 2.0} if "e" in shown else {"rel": 0.33, "abs": 0.05}
    return float(said) == pytest.approx(float(shown), **room)


# Pages that train, or speak of kernels. The others run step by step: kernels would take longest.
BY_KERNELS = {"tutorial", "inspection", "four_columns", "speed", "long_sequences"}
WITH_CODE = [p for p in PAGES if _fences(p, "python") and p.name not in ELSEWHERE]


@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
@pytest.mark.filterwarnings("ignore")
def test_code_runs_from_top_to_bottom_and_prints_what_is_shown(page, capsys, tmp_path, monkeypatch):
    """A block of text after one of Python is what that one prints; `...` stands for anything."""
    monkeypatch.chdir(tmp_path)
    if page.stem not in BY_KERNELS:
        for front in bptt.unroll, bptt.Stream.__init__:
            monkeypatch.setitem(front.__kwdefaults__, "backend", "reference")
    names = {"__name__": page.stem}
    for kind, code in _fences(page, "python", "text"):
        if kind == "python":
            capsys.readouterr()
            exec(compile(code, _name(page), "exec"), names)
            said = capsys.readouterr().out
        else:
            assert _agree(code, said), f"printed:\n{said}\nshown:\n{code}"


@pytest.mark.parametrize(
    ("said", "agrees"),
    [("loss 0.80, 2e-07", True), ("loss 0.3, 2e-07", False), ("loss 0.8, 2e-05", False),
     ("bias 0.8, 2e-07", False), ("loss 0.8", False)],
)  # fmt: skip
def test_what_is_shown_is_compared_by_words_and_sizes(said, agrees):
    assert _agree("loss 0.83, 3e-07", said) == agrees


NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def _plain(text):
    """Words alone: no numbers, which training makes a little different everywhere, and no bars."""
    return re.sub(r"-?[\d.]+(e[-+]\d+)?|[─-▓◄·|]|\s", "", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored_in_it(path):
    """`python tests/notebooks.py examples/NAME.ipynb` stores anew."""
    notebook, found = notebooks.run(path)
    for cell, outputs in zip(notebooks.code_cells(notebook), found, strict=True):
        before, now = notebooks.words(cell["outputs"]), notebooks.words(outputs)
        assert _plain(before) == _plain(now), f"stored:\n{before}\nshown now:\n{now}"


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
    here = [t for t in _targets(page) if not re.match(r"https?:|_static/", t)]
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


def test_every_picture_is_drawn_by_a_module_and_shown_on_a_page():
    folder = DOCS / "figures"
    modules = {p.stem for p in folder.glob("*.py") if "\ndef draw()" in p.read_text()}
    shown = {n for p in PAGES for n in re.findall(r"\(figures/(\w+)\.svg\)", p.read_text())}
    assert {p.stem for p in folder.glob("*.svg")} == modules == shown


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
