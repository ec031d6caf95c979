"""The gradient's way in a browser: the numbers under the pointer are those of `bptt.inspect`."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import torch
from playwright.sync_api import Locator, Page, expect

import bptt
from bptt.figures import figure
from bptt.inspect import Credit, credit
from bptt.picture import draw
from runs import HOSTILE

pytestmark = pytest.mark.browser
STEPS, BATCH, INPUTS, PHONE = 30, 2, 2, 360
MAP = "way-1"


class Made(NamedTuple):
    path: Path
    credit: Credit
    given: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """A page of a small cell on a batch, and what its map is to show."""
    torch.manual_seed(0)
    given: Any = (bptt.cells.Elman(INPUTS, 4), torch.randn(STEPS, BATCH, INPUTS), torch.square)
    path = tmp_path_factory.mktemp("way") / "page.html"
    bptt.report(*given, path=path, title=HOSTILE, names=[HOSTILE, "b"])
    return Made(path, credit(*given), given)


@pytest.fixture
def page(open_page: Callable, made: Made) -> Page:
    page = open_page(made.path).page
    page.wait_for_selector("html[data-drawn]")
    return page


def cell(page: Page, t: int, k: int) -> Locator:
    """The map's cell of loss time t and step k: rows follow each other, each up to its own t."""
    return page.locator(f"[data-chart={MAP}] .mark-rect path").nth(t * (t + 1) // 2 + k)


def test_the_map_tells_the_numbers_of_credit(page: Page, made: Made) -> None:
    tip = page.locator("#vg-tooltip-element")
    cell(page, 20, 13).hover()
    expect(tip).to_contain_text("loss at step 21, blamed on step 14, 7 steps before")
    expect(tip).to_contain_text(figure(made.credit.state[20, 13]))
    page.locator(f"[data-layers={MAP}]").select_option("Ws, its use at step k")
    cell(page, 20, 12).hover()
    expect(tip).to_contain_text("blamed on step 13")
    expect(tip).to_contain_text(figure(made.credit.parameters["Ws"][20, 12]))


def test_arrow_keys_go_over_the_map(page: Page, made: Made) -> None:
    page.locator(f"[data-chart={MAP}]").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator(f"#{MAP}-here")).to_contain_text("loss at step 29, blamed on step 28")
    tip = page.locator("#vg-tooltip-element")
    expect(tip).to_contain_text(figure(made.credit.state[28, 27]))


def test_the_map_has_a_table_and_a_file(page: Page, made: Made, tmp_path: Path) -> None:
    page.locator(f"[data-table={MAP}] summary").click()
    row = page.locator(f"[data-table={MAP}] tbody tr").nth(9).locator("th, td")
    expect(row.nth(6)).to_have_text(figure(made.credit.state[9, 5]))
    with page.expect_download() as download:
        page.locator(f"a[data-map={MAP}]").click()
    download.value.save_as(tmp_path / "credit.csv")
    with (tmp_path / "credit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == STEPS * (STEPS + 1) // 2
    ws = [float(row["Ws, its use at step k"]) for row in rows[-STEPS:]]
    assert ws == pytest.approx(made.credit.parameters["Ws"][-1], rel=1e-6)


def test_the_slider_moves_the_picture(page: Page, made: Made) -> None:
    picture = page.locator(".bptt-picture")
    slider = picture.locator("[data-loss-slider]")
    assert int(picture.get_attribute("data-loss-time")) == STEPS - 1
    slider.press("ArrowLeft")
    expect(picture).to_have_attribute("data-loss-time", str(STEPS - 2))
    state = picture.locator(f".step .state[data-step='{STEPS - 4}']")
    shown = float(state.get_attribute("data-value").replace("−", "-"))
    assert shown == pytest.approx(made.credit.state[STEPS - 2, STEPS - 4], rel=1e-3)
    state.hover()
    expect(picture.locator("[data-said]")).to_contain_text(state.get_attribute("data-value"))


def test_the_slider_fills_in_what_python_says(page: Page, made: Made) -> None:
    picture = page.locator(".bptt-picture")
    for key, t in (("ArrowLeft", STEPS - 2), ("Home", 0)):
        picture.locator("[data-loss-slider]").press(key)
        expect(picture).to_have_attribute("data-loss-time", str(t))
        parts = ElementTree.fromstring(draw(*made.given, at=t).svg()).iter()
        said = [part.get("aria-label") for part in parts if "data-part" in part.attrib]
        shown = picture.locator(".unfolded .part").all()
        assert [part.get_attribute("aria-label") for part in shown] == said


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(open_page: Callable, made: Made, dark: bool) -> None:
    page = open_page(made.path, width=PHONE, dark=dark).page
    page.wait_for_selector("html[data-drawn]")
    for details in page.locator("details").all():
        details.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE


def test_names_are_shown_and_never_run(page: Page) -> None:
    assert page.locator("img, iframe, object").count() == 0
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator("main")).to_contain_text("alert('1')")


def test_it_is_printed_whole(page: Page) -> None:
    page.emulate_media(media="print")
    charts = page.locator("[data-chart]").count()
    expect(page.locator("[data-chart] svg")).to_have_count(charts)
    assert not page.locator(".under").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
