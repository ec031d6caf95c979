"""The unfolded picture: true numbers on the lines of any cell, in pages that are safe and whole."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

import bptt
from bptt.errors import ArgumentError
from bptt.inspect import credit
from bptt.lesson import back, make_example, run
from bptt.picture import draw
from bptt.picture.numbers import shown
from bptt.picture.words import figure

SQUARES = torch.square


class ReadOut(nn.Module):
    """A GRU cell whose output is read out of its state."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.GRUCell(3, 4), nn.Linear(4, 2)

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 4)

    def forward(self, x, s):
        s = self.inner(x, s)
        return self.out(s), s


class Branching(nn.Module):
    """A cell that Python decides in, so that it has no graph."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.full((3, 3), 0.3))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 3)

    def forward(self, x, s):
        return torch.tanh(x + s @ self.W) if float(s.sum()) < 100 else s


MODELS = {
    "elman": lambda: bptt.cells.Elman(3, 4),
    "relu": lambda: bptt.cells.Elman(3, 4, torch.relu),
    "lstm": lambda: bptt.cells.LSTM(3, 4),
    "norm": lambda: bptt.cells.LayerNormGRU(3, 4),
    "highway": lambda: bptt.cells.RHN(3, 4),
    "own": ReadOut,
    "network": lambda: bptt.nn.Network(bptt.cells.Elman(3, 4), 2),
    "layers": lambda: bptt.nn.GRU(3, 4, num_layers=2),
    "noise": lambda: bptt.cells.Leaky(3, 4, noise=0.1),
    "spiking": lambda: bptt.cells.LIF(3, 4),
    "branching": Branching,
}


def picture(kind, steps=5, **more):
    torch.manual_seed(3)
    return draw(MODELS[kind](), torch.randn(steps, 2, 3), SQUARES, backend="reference", **more)


@pytest.mark.parametrize("kind", MODELS)
def test_numbers_on_the_lines_are_those_of_credit(kind):
    drawn = picture(kind, window=3)
    for row, t in enumerate(drawn.credit.times):
        for lag in range(min(t, 2) + 1):
            at = (row, t - lag)
            assert drawn.flow.states[row, lag] == pytest.approx(drawn.credit.state[at], rel=1e-4)
            assert drawn.flow.inputs[row, lag] == pytest.approx(drawn.credit.inputs[at], rel=1e-4)
    known = drawn.flow.edges is not None
    assert known == (kind not in ("noise", "spiking", "branching"))
    weights = {name for part in drawn.sketch.parts for name in part.parameters}
    assert weights == set(drawn.credit.parameters)


def test_the_lines_of_the_founding_example_carry_the_chain():
    """Into s_k: dE_t/ds_k; into phi: delta_k; from Ws to s_{k-1}: dE_t/ds_{k-1}."""
    example = make_example(t=3)
    chain = back(example, run(example))
    cell = bptt.cells.Elman(2, 2, bias=False).double()
    network = bptt.nn.Network(cell, 1).double()
    with torch.no_grad():
        for own, given in zip((cell.Wx, cell.Ws, network.Wy), example.weights, strict=True):
            own.copy_(given)
    drawn = draw(
        network, example.x[:, None], targets=example.d[:, None], state=example.s0[None], times=[2]
    )
    kinds = [part.kind for part in drawn.sketch.parts]
    assert sorted(kinds) == sorted(
        ["input", "before", *["weight"] * 3, "function", "state", "output"]
    )
    adjoints = chain.adjoints.norm(dim=1).flip(0).numpy()
    np.testing.assert_allclose(drawn.flow.states[0], adjoints, rtol=1e-12)
    function = kinds.index("function")
    assert drawn.flow.edges is not None
    into = [norms[0] for (_, b), norms in drawn.flow.edges.items() if b == function]
    for norms in into:
        np.testing.assert_allclose(norms, chain.deltas.norm(dim=1).flip(0).numpy(), rtol=1e-12)
    for name, terms in zip(("Wx", "Ws"), chain.terms, strict=False):
        norms = drawn.credit.parameters[f"cell.{name}"][0]
        np.testing.assert_allclose(norms, terms.flatten(1).norm(dim=1).numpy(), rtol=1e-12)


def test_lengths_and_resets_cut_what_travels():
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[3] = True
    drawn = picture("elman", lengths=torch.tensor([5, 4]), reset=reset)
    assert drawn.flow.edges is not None
    assert (drawn.flow.states[-1] > 0).tolist() == [True, True, False, False, False, False]


def test_a_reverse_unroll_is_drawn_in_the_order_it_is_processed():
    cell, x, lengths = bptt.cells.Elman(3, 4), torch.randn(6, 2, 3), torch.tensor([6, 4])
    wanted, reset = torch.randn(6, 2, 4), torch.zeros(6, 2, dtype=torch.bool)
    reset[2, 1] = True
    given = {"lengths": lengths, "reset": reset, "reverse": True}

    def loss(outputs):  # holds on to targets in the data's order
        return (outputs - wanted).square().sum(2) * (torch.arange(6)[:, None] < lengths)

    drawn, found = draw(cell, x, loss, **given), credit(cell, x, loss, **given)
    for b, length in enumerate(lengths.tolist()):
        expected = found.per_sequence[:length, :length, b][::-1, ::-1]
        np.testing.assert_allclose(
            drawn.credit.per_sequence[:length, :length, b], expected, rtol=1e-5
        )
    alone = draw(cell, x[:, :1], torch.square, reverse=True)
    assert alone.names[0] == "step 6 of the data"


def svg_numbers(svg):
    """By part and step, the number that an SVG states of it."""
    root = ElementTree.fromstring(svg)
    parts = (e for e in root.iter() if "data-part" in e.attrib)
    return {(e.get("data-key"), int(e.get("data-step"))): e.get("data-value") for e in parts}


@pytest.mark.parametrize("kind", ["own", "lstm", "branching"])
def test_svg_is_well_formed_and_states_the_numbers_of_its_loss_time(kind):
    drawn = picture(kind, at=2, window=5)
    found = svg_numbers(drawn.svg())
    for name, norms in drawn.credit.parameters.items():
        for k in range(3):
            if (f"w:{name}", k) in found:
                assert found[f"w:{name}", k] == figure(norms[2, k])
    for k in range(-1, 3):
        assert found["s0" if k >= 0 else "b0", k] == figure(drawn.flow.leaves[0][2, 2 - k])
    ElementTree.fromstring(drawn.folded())


def page_rows(html):
    data = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return json.loads(data[1])["rows"]


def test_the_page_holds_every_loss_time_and_fetches_nothing():
    drawn = picture("own", steps=9, window=3, at=4)
    html = drawn.html()
    rows = page_rows(html)
    assert [row["at"] for row in rows] == list(range(9))
    for i, row in enumerate(rows):
        for column, k in enumerate(row["index"]):
            norm = drawn.credit.state[i, k]
            assert float(row["v"]["s0"][column][0]) == pytest.approx(norm, rel=1e-3)
            for name, norms in drawn.credit.parameters.items():
                text = row["v"][f"w:{name}"][column][0]
                assert float(text) == pytest.approx(norms[i, k], rel=1e-3)
    assert 'data-loss-time="4"' in html
    links = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", html)
    assert all(link.startswith("data:") for link in links)
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")


def test_a_page_without_room_leaves_loss_times_out_and_says_so():
    html = picture("elman", steps=40, at=30).fragment(room=8000)
    times = [row["at"] for row in page_rows(html)]
    assert sum(len(json.dumps(row)) for row in page_rows(html)) < 10_000
    assert 30 in times
    assert f"through {len(times)} of 40 loss times" in html
    assert "all 9 loss times" in picture("elman", steps=9).html()


def test_what_is_folded_is_told_as_a_sum():
    drawn = picture("elman", steps=9, window=3)
    told = shown(drawn, 8)["folded"]
    norms = drawn.credit.parameters["Ws"][8]
    assert "steps 1 to 6" in told
    assert f"{figure(norms[:6].sum())} of {figure(norms.sum())} to ∂E/∂Ws" in told
    assert shown(drawn, 1)["folded"] == ""


def test_names_from_data_are_shown_and_not_run():
    wild = ["</script><script>alert(1)</script>"] * 5
    drawn = picture("elman", names=wild)
    html = drawn.html()
    assert html.count("<script") == 2
    assert page_rows(html)[0]["name"] == wild
    assert "<script>alert" not in drawn.svg()
    ElementTree.fromstring(drawn.svg())
    assert drawn._repr_html_().count("<script") == 0


@pytest.mark.parametrize("width", [40, 80])
def test_text_keeps_to_its_width(width):
    text = picture("own", steps=30).text(width)
    assert max(map(len, text.split("\n"))) <= width
    assert "E₃₀" in text


def test_overflow_is_drawn_without_failing():
    cell = bptt.cells.Elman(1, 1, torch.relu, bias=False)
    nn.init.constant_(cell.Ws, 1e20)
    nn.init.constant_(cell.Wx, 1.0)
    drawn = draw(cell, torch.ones(4, 1, 1), SQUARES)
    ElementTree.fromstring(drawn.svg())
    assert drawn.html()
    assert drawn.text(80)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"at": 5}, "from -5 to 4"),
        ({"at": 1.0}, "whole number"),
        ({"times": [9]}, "from -5 to 4"),
        ({"names": ["a"]}, "each of 5 steps, got 1"),
        ({"window": 0}, "1 step or more"),
    ],
)
def test_wrong_arguments_are_named(wrong, said):
    with pytest.raises(ArgumentError, match=said):
        picture("elman", **wrong)
