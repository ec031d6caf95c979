"""The lesson: right numbers, a page that can be read, one clear message for wrong input."""

import doctest
import io
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt.cli.app import main
from bptt.errors import ArgumentError
from bptt.lesson import (
    ACTIVATIONS,
    LOSSES,
    Example,
    Weights,
    back,
    check,
    drawn,
    make_example,
    run,
    work,
)
from bptt.lesson.checks import differences, unrolled
from bptt.lesson.page import page
from bptt.lesson.walk import walk
from bptt.lesson.webpage import webpage
from bptt.lesson.written import written
from bptt.picture import draw
from bptt.picture.notation import number

DOCUMENT = Path(__file__).parents[1] / "docs" / "lesson.md"


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    """80 columns and no colours, whatever runs the tests."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def explain(capsys):
    """Run `bptt explain` with some words and give its exit code, output and errors."""

    def command(words=""):
        with pytest.raises(SystemExit) as stop:
            main(["explain", *(shlex.split(words) if isinstance(words, str) else words)])
        return stop.value.code, *capsys.readouterr()

    return command


# The numbers


@pytest.mark.parametrize(("t", "term"), [(1, 0.9), (2, 0.18), (3, 0.036), (4, 0.0072)])
def test_terms_of_a_linear_unit_are_what_the_field_has(t, term):
    """h <- w h, E = h: each of the t paths of dE_t/dw is w^(t-1) x0."""
    numbers = {"Ws": 0.2, "Wx": 1.0, "Wy": 1.0, "s0": 0.9, "x": [0.0] * t}
    out = run(make_example({**numbers, "d": [0.0] * t}, activation="identity")).y
    # d = y - 1/2 makes dE/dy = 1, so that E changes as the state does.
    example = make_example({**numbers, "d": out - 0.5}, activation="identity")
    chain = back(example, run(example))
    assert chain.terms.Ws.flatten().tolist() == pytest.approx([term] * t, rel=1e-14)
    assert chain.gradient.Ws.item() == pytest.approx(t * term, rel=1e-14)


@settings(max_examples=40, deadline=None)
@given(
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(sorted(LOSSES)),
    t=st.integers(1, 6),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 5),
    outputs=st.integers(2, 4),
    seed=st.integers(0, 10**6),
)
def test_chain_agrees_with_unroll_and_finite_differences(loss, activation, **sizes):
    example = make_example(activation=activation, loss=loss, **sizes)
    with pytest.MonkeyPatch.context() as patch:  # a kernel for each example would be all the time
        patch.setitem(bptt.unroll.__kwdefaults__, "backend", "reference")
        checks = check(example, back(example, run(example)).gradient)
    for name, found in checks.items():
        assert found.agrees, (name, found)


@pytest.mark.parametrize("name", ["Wx", "Ws"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_term_k_is_the_gradient_of_the_weight_that_step_k_uses(name, loss):
    example = make_example(t=4, hidden=3, loss=loss)
    copies = [[w.clone().requires_grad_() for w in example.weights[:2]] for _ in range(4)]
    state = example.s0
    for x, (Wx, Ws) in zip(example.x, copies, strict=True):
        state = torch.tanh(x @ Wx + state @ Ws)
    example.loss.error(state @ example.weights.Wy, example.d[-1]).backward()
    own = torch.stack([copy[Weights._fields.index(name)].grad for copy in copies])
    terms = getattr(back(example, run(example)).terms, name)
    torch.testing.assert_close(terms, own, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", Weights._fields)
def test_check_catches_a_gradient_wrong_by_a_thousandth(name):
    example = make_example()
    right = back(example, run(example)).gradient
    wrong = right._replace(**{name: getattr(right, name) * 1.001})
    found = check(example, wrong)
    assert {n for n, c in found.items() if not c.agrees} == {name}


def test_the_two_checks_are_independent_of_the_chain_and_of_each_other():
    example = make_example(t=5, hidden=4)
    one, other = unrolled(example), differences(example)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(one, other, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_corner_is_named_rather_than_counted_as_disagreement():
    zero = {"s0": [0.5, 0.5], "x": [[1, 1]], "Wx": [[-1, 0], [0, -1]], "Ws": [[1, 1], [1, 1]]}
    lesson = work(make_example(zero, activation="relu"))
    found = lesson.checks["Ws"]
    assert found.corner
    assert found.agrees
    assert found.differences > 1e-2
    assert "corner of relu" in "\n".join(page(lesson))


def test_any_activation_that_works_element_by_element():
    example = make_example(t=3)
    own = Example(example.weights, example.s0, example.x, example.d, torch.nn.Mish())
    lesson = work(own)
    assert all(found.agrees for found in lesson.checks.values())
    assert "φ = Mish" in "\n".join(page(lesson))


# The user's own numbers


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"Ws": [[0.5, 0], [0.25, -1]], "x": [1, 2, 3, 4]}'),
        ("a.toml", "Ws = [[0.5, 0], [0.25, -1]]\nx = [1.0, 2, 3, 4]"),
    ],
)
def test_a_file_gives_some_arrays_and_their_sizes(explain, tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    code, out, _ = explain(["--weights", str(path)])
    assert code == 0
    assert "⎡ 0.50     0⎤" in out
    assert "⎣ 0.25 -1.00⎦" in out
    assert "Unfolded to t = 4" in out
    code, out, _ = explain(["--weights", str(path), "--t", "2"])
    assert "Unfolded to t = 2" in out


def test_given_arrays_do_not_change_the_drawn_ones():
    plain, own = make_example(), make_example({"Ws": torch.eye(2)})
    assert torch.equal(own.weights.Wx, plain.weights.Wx)
    assert torch.equal(own.d, plain.d)


@pytest.mark.parametrize(
    ("arrays", "words", "message"),
    [
        ({"Wx": [[1, 2]], "Ws": [[1]]}, "", "Ws is 1 x 1; it must be 2 x 2 .* Wx says H = 2"),
        ({"Ws": [[1, 2, 3], [1, 2, 3]]}, "", "Ws is 2 x 3; it must be square"),
        ({"Wx": [[1, 2]]}, "--hidden 3", "Wx is 1 x 2; it must be 1 x 3 .* hidden says H = 3"),
        ({"s0": [1, 2, 3]}, "--hidden 2", "s0 is a list of 3; it must be a list of 2"),
        ({"x": [1, 2]}, "--t 5", "x is 2 x 1; it must be 5 x 1 .* t says t = 5 steps"),
        ({"x": [1, 2], "d": [1, 2, 3]}, "", "d is 3 x 1; it must be 2 x 1"),
        ({"Wx": [1, 2]}, "", "Wx is a list of 2; it must be I x H, a list of rows"),
        ({"Ws": [[1, 2], [3]]}, "", "rows of Ws differ in length"),
        ({"Ws": [["a"]]}, "", "Ws holds 'a'"),
        ({"Ws": True}, "", "Ws holds True"),
        ({"Ws": float("nan")}, "", "Ws holds nan"),
        ({"wx": 1}, "", "'wx'; it may name Wx, Ws, Wy, s0, x, d. Did you mean Wx"),
        ({"d": [[0.5, 0.6]]}, "--loss cross-entropy", "row 1 is .0.5, 0.6"),
        ({"d": [1.0, 1.0]}, "--loss cross-entropy", "needs 2 of them"),
        ({"Ws": 1e200, "s0": 1e200}, "--activation identity", "too large for float64"),
        ([1, 2], "", "holds a list; it must hold an object"),
        ({}, "", "names no array"),
        (None, "--t 0", "t says t = 0 steps; it must be from 1 to"),
        (None, "--t 101", "from 1 to 100"),
        (None, "--hidden 99", "H = 99 hidden units"),
        (None, "--digits 0", "--digits must be from 1"),
        (None, "--learning-rate 0", "learning rate must be a number above 0, got 0"),
        (None, "--learning-rate nan", "learning rate must be a number above 0, got nan"),
        (None, "--seed -1", "seed must be a whole number from 0"),
        (None, "--activation tan", "tan"),
    ],
)
def test_wrong_input_gets_one_message_and_exit_code_2(explain, tmp_path, arrays, words, message):
    if arrays is not None:
        path = tmp_path / "own.json"
        path.write_text(json.dumps(arrays))
        words += f" --weights {path}"
    code, out, err = explain(words)
    assert code == 2
    assert out == ""
    assert re.search(message, err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.json", b'{"Ws": [[1]', "is not JSON: Expecting ',' delimiter: line 1"),
        ("own.toml", b"Ws = [[1]", "is not TOML: .*at end of document"),
        ("own.json", b"\xff\xfe", "is not UTF-8 text"),
        ("own.json", b"", "is not JSON"),
        ("own.txt", b"Ws = 1", "must end in .json or .toml"),
        (".", None, "Is a directory"),
        ("none.json", None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(explain, tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, _, err = explain(["--weights", str(path)])
    assert code == 2
    assert str(path) in err
    assert re.search(message, err)


def test_unknown_names_are_refused_in_python_too():
    with pytest.raises(ArgumentError, match="no array 'Wh'"):
        make_example({"Wh": 1})
    with pytest.raises(ArgumentError, match="activation is one of tanh"):
        make_example(activation="tan")


# The page


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--t 1",
        "--t 5 --hidden 1 --inputs 1",
        "--t 12 --hidden 4 --activation relu --loss cross-entropy --outputs 5",
        "--t 99 --hidden 9 --outputs 9 --inputs 9 --digits 6 --activation silu",
    ],
)
def test_page_fits_80_columns_and_agrees(explain, words):
    code, out, err = explain(words)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("agrees with bptt.unroll") == 3
    assert "\x1b" not in out


def test_every_term_is_shown_up_to_t_12_and_the_rest_counted():
    shown = "\n".join(page(work(make_example(t=12))))
    assert all(f"∂⁺s{n}/∂{w}" in shown for n in "₁₂₃₄₅₆₇₈₉" for w in ("Wx", "Ws"))
    assert "not shown" not in shown
    assert "9 terms are not shown" in "\n".join(page(work(make_example(t=20))))


def test_drawing_leaves_out_the_middle_only_where_it_must():
    assert "left out" not in "\n".join(page(work(make_example(t=5)), width=80))
    assert "left out" in "\n".join(page(work(make_example(t=6)), width=80))
    assert "left out" not in "\n".join(page(work(make_example(t=6)), width=100))


@pytest.mark.parametrize(
    ("example", "rate", "words"),
    [
        (make_example(), 0.1, "it fell by 58.4 %"),
        (make_example(), 2.0, "it ROSE"),
        (make_example({"Wx": 0, "Ws": 0, "s0": 0, "x": [0], "Wy": 0, "d": [1]}), 0.1, "it stays"),
    ],
)
def test_outcome_of_the_step_is_told_as_it_is(example, rate, words):
    assert words in page(work(example, rate))[-2] + page(work(example, rate))[-1]


def test_a_terminal_without_unicode_gets_plain_letters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    with pytest.raises(SystemExit) as stop:
        main(["explain", "--t", "11"])
    assert stop.value.code == 0
    assert b"s0 - Ws >| s1  |- Ws >| s2  |" in raw.getvalue()


def test_a_disagreement_is_shown_and_fails(explain, monkeypatch):
    monkeypatch.setattr("bptt.lesson.checks.unrolled", lambda example: example.weights)
    code, out, _ = explain()
    assert code == 1
    assert out.count("DISAGREES") == 3


def _quotations():
    """The command lines in the document, each with the pieces of output that it quotes."""
    blocks = re.findall(r"```console\n\$ bptt explain(.*?)\n(.*?)```", DOCUMENT.read_text(), re.S)
    return [
        (words, [piece.strip("\n") for piece in quoted.split("...\n") if piece])
        for words, quoted in blocks
    ]


@pytest.mark.parametrize(("words", "pieces"), _quotations())
def test_document_quotes_what_the_command_prints(explain, tmp_path, monkeypatch, words, pieces):
    monkeypatch.chdir(tmp_path)
    (toml,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.S)
    Path("one.toml").write_text(toml)
    code, out, _ = explain(words)
    assert code == 0
    assert pieces
    for piece in pieces:
        assert piece in out


def test_document_shows_python_that_runs():
    failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert (failed, tried) == (0, 4)


# The page


def page_data(html):
    """What a page holds for its script."""
    found = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', html, re.S)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def walked():
    return walk(make_example(t=3))


@pytest.fixture(scope="module")
def held(walked):
    """What the page of it holds."""
    return page_data(webpage(walked))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
@pytest.mark.parametrize("t", [1, 3])
def test_the_page_holds_the_lesson_for_every_choice(held, activation, t):
    example = make_example(t=3, activation=activation)
    example = replace(example, x=example.x[:t], d=example.d[:t])
    for shown in held["lessons"][f"{activation} {t}"]["steps"]:
        lesson = work(example)
        assert shown["before"] == number(lesson.before, 4)
        for name, W in example.weights._asdict().items():
            assert shown["W"][name] == written(W, 4)
        for name, terms in lesson.chain.terms._asdict().items():
            first = t if name == "Wy" else 1
            by = shown["by"][name]
            for k, term in enumerate(terms, first):
                assert by["terms"][str(k)] == written(term, 4)
                assert by["norms"][str(k)] == number(float(term.norm()), 4)
            assert by["so_far"][str(first)] == by["chain"]
            assert by["chain"] == by["unroll"]
            assert by["agrees"]
        example = replace(example, weights=lesson.stepped)


def test_the_drawing_on_the_page_carries_the_chain(walked, held):
    chain = walked.lessons["tanh", 3][0].chain
    shown = held["lessons"]["tanh 3"]["steps"][0]["picture"]["v"]
    sizes = [float(text) for text, _ in shown["s0"]]
    assert sizes == pytest.approx(chain.adjoints[1:].norm(dim=1).tolist(), rel=1e-3)
    for name in ("Wx", "Ws"):
        sizes = [float(text) for text, _ in shown[f"w:{name}"]]
        norms = getattr(chain.terms, name).flatten(1).norm(dim=1)
        assert sizes == pytest.approx(norms.tolist(), rel=1e-3)
    way = held["paths"]["3"]["Ws"]["1"]
    assert len(way) == len(set(way))
    assert sum(key.endswith(":p5") for key in way) == 3  # through s_3, s_2 and s_1


def test_the_page_draws_the_network_that_is_traced():
    """Its parts and lines are those that the compiler's graph of the very network gives."""
    network = bptt.nn.Network(bptt.cells.Elman(2, 2, bias=False), 1)
    traced = draw(network, torch.ones(3, 1, 2), targets=torch.ones(3, 1, 1)).sketch

    def lines(sketch):
        parts = sketch.parts
        return {((parts[a].kind, parts[a].label), (parts[b].kind, parts[b].label))
                for a, b in sketch.edges()}  # fmt: skip

    assert lines(traced) == lines(drawn.network("tanh"))


@pytest.mark.parametrize(
    "options",
    [
        {"given": {"Ws": [[0.5, -1.0], [2.0, 0.1]], "x": [[1, 2], [3, 4]]}},
        {"loss": "cross-entropy", "activation": "silu", "t": 2},
        {"hidden": 9, "t": 13},
    ],
)
def test_a_page_of_ones_own_is_safe_and_of_a_size_that_opens(options, monkeypatch):
    monkeypatch.setattr("bptt.lesson.walk.MOST_STEPS", 1)
    given = options.pop("given", None)
    html = webpage(walk(make_example(given, **options)))
    data = page_data(html)
    assert f"{data['chosen']['activation']} {data['chosen']['t']}" in data["lessons"]
    assert len(html) < 2_000_000
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"@[A-Z]+@", html)


def test_numbers_that_overflow_are_left_out_of_the_page():
    example = make_example({"Ws": [[1e200, 0], [0, 1e200]], "s0": [1.0, 1.0]}, t=3)
    found = walk(example, learning_rate=1.0)
    assert ("tanh", 3) in found.lessons
    assert ("relu", 3) not in found.lessons
    assert "relu 3" not in page_data(webpage(found))["lessons"]


def test_the_command_writes_the_page(explain, tmp_path):
    place = tmp_path / "lesson.html"
    code, said, _ = explain(f"--t 2 --html {place}")
    assert (code, said.strip()) == (0, str(place))
    data = page_data(place.read_text(encoding="utf-8"))
    assert data["chosen"] == {"activation": "tanh", "t": 2}
    code, _, wrong = explain(f"--html {place}")
    assert code == 2
    assert "--overwrite" in wrong
