"""What the command writes of a run: its report, and the page that explains one of its errors."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load_file, save_file

from bptt.report import write_report

pytestmark = pytest.mark.browser
PHONE = 360  # pixels


def drawn(page: Page) -> Page:
    page.wait_for_selector("html[data-drawn]")
    return page


def test_a_report_begins_with_the_answer_and_lacks_nothing(open_page: Callable, run: Path) -> None:
    page = drawn(open_page(run / "report.html").page)
    sections = page.locator("main > section").evaluate_all("all => all.map(e => e.id)")
    assert sections == ["result", "detail", "way", "unfolded", "curves", "data", "model", "again"]
    assert page.locator(".finding").count() >= 1
    expect(page.locator("#way")).not_to_contain_text("Not shown")
    assert (run / "report.html").stat().st_size < 2_000_000


def test_names_of_the_table_are_shown_and_never_run(open_page: Callable, run: Path) -> None:
    page = drawn(open_page(run / "report.html").page)
    expect(page.locator("#detail")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("#way")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("#unfolded .lead")).to_contain_text("<script>alert(1)</script>")


def test_weights_of_nan_are_told_as_the_diagnosis(
    open_page: Callable, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: torch.full_like(w, torch.nan) for n, w in weights.items()}, folder / "model.safetensors"
    )
    page = drawn(open_page(write_report(folder)).page)
    expect(page.locator(".finding.problem").first).to_contain_text("nan")


@pytest.mark.parametrize("width", [1100, PHONE])
def test_an_error_of_the_run_is_explained_on_a_page(
    open_page: Callable, run: Path, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "explained.html"
    command = [sys.executable, "-m", "bptt", "explain", str(run), "--html", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    page = open_page(path, width=width).page
    picture = page.locator(".bptt-picture").first
    before = int(picture.get_attribute("data-loss-time"))
    picture.locator("[data-loss-slider]").press("ArrowLeft")
    expect(picture).not_to_have_attribute("data-loss-time", str(before))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.locator("body")).to_contain_text("<script>alert(1)</script>")
