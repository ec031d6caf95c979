"""The gradient's way on a page: what `bptt.inspect` finds, in charts, maps and words."""

import base64
import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bptt
from bptt.errors import ArgumentError, RunError
from bptt.inspect import credit, decay
from bptt.report import write_report
from bptt.report.folders import portable
from bptt.report.map import CELLS, Layer, Map, Side
from bptt.report.small import fit
from bptt.report.way import Way, way_of_batch
from pages import Page
from runs import HOSTILE, make_run

STEPS, BATCH, INPUTS = 40, 3, 2


def square(outputs: torch.Tensor) -> torch.Tensor:
    return outputs.square()


def maps(page: Page) -> list[dict[str, Any]]:
    """The packed maps of a page."""
    return [spec["usermeta"]["map"] for spec in page.charts.values() if "usermeta" in spec]


def unpacked(cells: str, stops: list[int]) -> list[np.ndarray]:
    values = np.frombuffer(base64.b64decode(cells), "<f4")
    assert len(values) == sum(stops)
    return np.split(values, np.cumsum(stops)[:-1])


def table(page: Page, file: str) -> list[dict[str, str]]:
    (link,) = (a["href"] or "" for _, a in page.elements if a.get("download") == file)
    text = unquote(link.partition(",")[2])
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def batch() -> tuple[Any, torch.Tensor]:
    torch.manual_seed(0)
    return bptt.cells.Elman(INPUTS, 5), torch.randn(STEPS, BATCH, INPUTS)


@pytest.fixture(scope="module")
def page(batch, tmp_path_factory) -> Page:
    """The page of a model and a batch whose inputs have names."""
    path = tmp_path_factory.mktemp("way") / "page.html"
    names = ["<script>alert(1)</script>", "b"]
    assert bptt.report(*batch, square, path=path, names=names, title=HOSTILE) == path
    return Page(path)


def test_report_is_a_function_and_a_package() -> None:
    assert bptt.report is sys.modules["bptt.report"].report
    assert callable(bptt.report)
    assert sys.modules["bptt.report"].write_report is write_report


def test_the_map_has_the_numbers_of_credit(batch, page: Page) -> None:
    found = credit(*batch, square)
    drawn = maps(page)[0]
    layers = {layer["name"].partition(",")[0]: layer["cells"] for layer in drawn["layers"]}
    assert drawn["stops"] == list(range(1, STEPS + 1))
    expected = {"the state": found.state, "the inputs": found.inputs, **found.parameters}
    assert layers.keys() == expected.keys()
    for name, numbers in expected.items():
        for t, row in enumerate(unpacked(layers[name], drawn["stops"])):
            np.testing.assert_allclose(row, numbers[t, : t + 1], rtol=1e-4, atol=1e-9)


def test_a_chart_has_the_numbers_of_its_result(batch, page: Page) -> None:
    found = decay(*batch, square)
    rows = table(page, "decay.csv")
    np.testing.assert_allclose([float(row["measured"]) for row in rows], found.norm, rtol=1e-6)
    assert [int(row["steps back"]) for row in rows] == found.lags.tolist()


def test_names_are_shown_and_never_run(page: Page) -> None:
    assert not page.attributes("onerror")
    assert "alert(1)" not in [text.strip() for tag, text in page.texts if tag == "script"]
    assert maps(page)[1]["up"]["labels"] == ["<script>alert(1)</script>", "b"]


def test_a_model_of_nan_is_told_as_the_diagnosis(tmp_path: Path, batch) -> None:
    cell, inputs = bptt.cells.Elman(INPUTS, 5), batch[1]
    with torch.no_grad():
        cell.Ws[0, 0] = math.nan
    page = bptt.report(cell, inputs, square, path=tmp_path / "page.html").read_text()
    assert "Something stands in the gradient" in page
    assert 'class="finding problem"' in page


def test_what_cannot_be_shown_is_refused(tmp_path: Path, batch) -> None:
    with pytest.raises(ArgumentError, match="loss"):
        bptt.report(*batch, path=tmp_path / "page.html")
    with pytest.raises(RunError, match="could not be written"):
        bptt.report(*batch, square, path=tmp_path / "nowhere" / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_run_without_its_data_says_what_is_missing(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run")).read_text()
    assert "The network learnt" in page
    assert "Not shown" in page
    assert "forecast.csv" in page.partition("Not shown")[2]
    assert "/data/" not in page


@given(
    shape=st.tuples(st.integers(1, 2 * CELLS + 3), st.integers(1, 2 * CELLS + 3)),
    triangular=st.booleans(),
)
def test_a_map_keeps_the_largest_of_each_cell(shape: tuple[int, int], triangular: bool) -> None:
    tall, wide = (max(shape), max(shape)) if triangular else shape
    values = np.random.default_rng(0).random((tall, wide))
    stops = list(range(1, tall + 1)) if triangular else None
    if triangular:
        values = np.where(np.tri(tall, dtype=bool), values, 0)
    drawn = map_of(values, stops)
    cells = unpacked(drawn["layers"][0]["cells"], drawn["stops"])
    assert len(cells) <= CELLS
    assert len(cells[-1]) == len(drawn["across"]["labels"]) <= CELLS
    assert np.concatenate(cells).max() == pytest.approx(values.max(), rel=1e-6)
    rows, columns = (
        slice(*(round(edge + 0.5) for edge in drawn[side]["edges"][-2:]))
        for side in ("up", "across")
    )
    assert cells[-1][-1] == pytest.approx(values[rows, columns].max(), rel=1e-6)


def test_what_is_no_number_stays_in_its_cell() -> None:
    values = np.ones((3 * CELLS, 3 * CELLS))
    values[4, 7] = math.nan
    drawn = map_of(values, None)
    cells = np.stack(unpacked(drawn["layers"][0]["cells"], drawn["stops"]))
    assert np.argwhere(np.isnan(cells)).tolist() == [[1, 2]]


def map_of(values: np.ndarray, stops: list[int] | None) -> dict[str, Any]:
    up, across = (Side("", [str(i) for i in range(n)]) for n in values.shape)
    return Map("", "", "", "", across, up, layers=[Layer("", values)], stops=stops).packed()


def test_a_page_beyond_its_limit_gives_up_detail_and_says_so(batch) -> None:
    given = dict.fromkeys(("targets", "state", "lengths", "reset", "reset_state"))
    way = way_of_batch(*batch, square, (), **given)

    def render(way: Way) -> str:
        maps = [json.dumps(one.packed()) for one in way.charts if isinstance(one, Map)]
        return f"{maps} {way.picture and way.picture.html} {way.missing}"

    whole = fit(way, render, 10**9)
    small = fit(way, render, len(whole.encode()) - 1)
    none = fit(way, render, 10)
    assert "all 40 loss times" in whole
    assert "of 40 loss times, evenly spread" in small
    assert "the network unfolded" in none
    assert "would take the page beyond" in none


def test_files_are_named_without_their_folders(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run")).read_text()
    assert str(tmp_path) not in page
    assert (
        portable("bptt train --out=/home/ann/run '/home/ann/a b.csv'")
        == "bptt train --out=run 'a b.csv'"
    )
