"""Texts stand out enough from what is behind them, on every kind of page, light and dark."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from bptt.cli.explain import explain, explain_run

pytestmark = pytest.mark.browser
POOR = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(run: Path, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    lesson, blame = folder / "lesson.html", folder / "blame.html"
    assert explain(html=lesson) == explain_run(run, None, None, blame) == 0
    return {"report": run / "report.html", "lesson": lesson, "blame": blame}


def opened(page: Page) -> Page:
    """With all that can be unfolded open."""
    if page.locator("[data-chart]").count():
        page.wait_for_selector("html[data-drawn]")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    return page


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["report", "lesson", "blame"])
def test_every_text_can_be_read(
    open_page: Callable, pages: dict[str, Path], name: str, dark: bool
) -> None:
    assert opened(open_page(pages[name], dark=dark).page).evaluate(POOR) == []


def test_a_faint_text_is_found(open_page: Callable, pages: dict[str, Path]) -> None:
    page = open_page(pages["lesson"]).page
    page.evaluate("document.querySelector('h1').style.color = '#aaa'")
    (found,) = page.evaluate(POOR)
    assert "H1" in found
