"""The report as its reader has it: in a browser, offline, on any screen."""

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from bptt.report import write_report
from runs import HOSTILE, MEASURED, make_run

pytestmark = pytest.mark.browser
PHONE = 360  # pixels


@pytest.fixture
def open_report(open_page, tmp_path: Path) -> Callable:
    """A made-up run's report, opened, all charts drawn."""

    def open_report(task: str = "forecast", *, look: dict | None = None, **run):
        report = write_report(make_run(tmp_path / "run", task=task, **run))
        page = open_page(report, **(look or {})).page
        page.wait_for_selector("html[data-drawn]")
        return page

    return open_report


@pytest.mark.parametrize("task", MEASURED)
@pytest.mark.parametrize("look", [{}, {"width": PHONE, "dark": True}], ids=["wide", "phone"])
def test_every_chart_is_drawn_and_nothing_runs_over(open_report, task: str, look: dict) -> None:
    page = open_report(task, look=look)
    charts = page.locator("[data-chart]")
    assert charts.count() > 0
    expect(page.locator("[data-chart] svg")).to_have_count(charts.count())
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    ends = [box["x"] + box["width"] for box in (c.bounding_box() for c in charts.all())]
    assert max(ends) <= page.viewport_size["width"]


def test_colours_follow_the_readers_setting(open_report) -> None:
    page = open_report()
    line = page.locator("[data-chart=curve-1] path[stroke='var(--network)']").first
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours += [line.evaluate("e => getComputedStyle(e).stroke")]
    assert colours[0] != colours[1]


def test_pointer_and_arrow_keys_tell_the_same_numbers(open_report) -> None:
    page = open_report()
    tip = page.locator("#vg-tooltip-element")
    chart = page.locator("[data-chart=curve-1]")
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(tip).to_be_visible()
    assert re.match(r"step \d+, (after )?epoch \d+\ntraining [\d.]+", tip.inner_text())
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("step 60, after epoch 12")
    page.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("step 59, epoch 12")
    said = page.locator("#curve-1-here").inner_text().replace(":", "")
    assert said.split() == tip.inner_text().split()
    page.keyboard.press("Tab")
    expect(tip).not_to_be_visible()


def test_a_chart_has_a_table_and_a_file_with_its_numbers(open_report, tmp_path: Path) -> None:
    page = open_report()
    with page.expect_download() as download:
        page.locator("a[data-of=curve-1]").click()
    download.value.save_as(tmp_path / "loss.csv")
    assert download.value.suggested_filename == "loss.csv"
    with (tmp_path / "loss.csv").open() as file:
        rows = list(csv.reader(file))
    page.locator("[data-table=curve-1] summary").press("Enter")
    table = page.locator("[data-table=curve-1] tr")
    assert len(rows) == 61
    expect(table).to_have_count(61)  # it is filled once the browser has told of the opening
    shown = table.nth(5).locator("th, td").all_inner_texts()
    assert shown[:2] == rows[5][:2]
    assert math.isclose(float(shown[2]), float(rows[5][2]), rel_tol=1e-3)
    assert shown[3] == (rows[5][3] and f"{float(rows[5][3]):.4g}")


@pytest.mark.parametrize("task", MEASURED)
def test_names_from_the_data_are_shown_and_never_run(open_report, task: str) -> None:
    page = open_report(task, measured=MEASURED[task](HOSTILE))
    assert page.locator("img, iframe, object").count() == 0
    expect(page.locator("main")).to_contain_text(HOSTILE)


def test_a_run_of_nothing_but_nan_is_a_page_that_says_so(open_report) -> None:
    page = open_report(spoilt=dict.fromkeys(range(1, 61), math.nan))
    expect(page.locator("#result")).to_contain_text("The training loss became NaN at step 1")


def test_it_can_be_printed(open_report, tmp_path: Path) -> None:
    page = open_report()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator(".under").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert over <= 0


def test_it_is_read_and_worked_without_a_pointer(open_report) -> None:
    page = open_report()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#result"
    without_name = page.evaluate(
        "[...document.querySelectorAll('a, button, select, summary, [tabindex]')]"
        ".filter(e => !(e.innerText || e.ariaLabel || e.getAttribute('aria-labelledby'))).length"
    )
    assert without_name == 0
