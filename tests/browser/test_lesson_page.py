"""`bptt explain --html`: what is chosen on the page, every number follows."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bptt.cli.explain import explain
from bptt.lesson import make_example
from bptt.lesson.walk import Walk, walk
from bptt.picture.notation import number

pytestmark = pytest.mark.browser
PHONE = 360  # pixels


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lesson") / "lesson.html"
    assert explain(html=path) == 0
    return path


@pytest.fixture(scope="module")
def walked() -> Walk:
    """What the page leads through."""
    return walk(make_example())


@pytest.fixture
def page(open_page: Callable, path: Path) -> Page:
    return open_page(path).page


def choose(page: Page, name: str, value: str) -> None:
    page.locator(f"label:has([name={name}][value='{value}'])").click()


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("t", [1, 3])
def test_the_error_is_that_of_what_is_chosen(
    page: Page, walked: Walk, t: int, activation: str
) -> None:
    choose(page, "time", str(t))
    choose(page, "activation", activation)
    lesson = walked.lessons[activation, t][0]
    expect(page.locator("[data-error]")).to_have_text(number(lesson.before, 4))
    page.locator("[data-step-on]").click()
    expect(page.locator("[data-error]")).to_have_text(number(lesson.after, 4))
    page.locator("[data-step-back]").click()
    expect(page.locator("[data-error]")).to_have_text(number(lesson.before, 4))


def test_the_terms_are_those_of_the_chosen_weight_and_lead_through_the_picture(
    page: Page, walked: Walk
) -> None:
    terms = walked.lessons[walked.chosen][0].chain.terms
    for weight in ("Ws", "Wx", "Wy"):
        choose(page, "weight", weight)
        shown = page.locator("[data-terms] [data-term]")
        norms = [number(float(term.norm()), 4) for term in getattr(terms, weight)]
        assert sorted(e.get_attribute("data-value") for e in shown.all()) == sorted(norms)
    choose(page, "weight", "Ws")
    paths = []
    for _ in range(3):
        paths.append(page.locator(".unfolded .part.on").count())
        if page.locator("[data-term-on]").is_enabled():
            page.locator("[data-term-on]").click()
    assert paths == sorted(set(paths))  # each earlier term's path is longer


def test_a_part_of_the_picture_tells_its_number(page: Page) -> None:
    state = page.locator(".unfolded .state").last
    state.hover()
    expect(page.locator("[data-said]")).to_contain_text(state.get_attribute("data-value"))


def test_it_is_worked_by_keyboard(page: Page) -> None:
    page.locator("[name=time]:checked").focus()
    before = page.locator("[data-error]").inner_text()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#lesson")).to_have_attribute("data-time", "2")
    expect(page.locator("[data-error]")).not_to_have_text(before)


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_a_sheet(open_page: Callable, path: Path, dark: bool) -> None:
    page = open_page(path, width=PHONE, dark=dark).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    page.emulate_media(media="print")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_large_one_fits_a_phone(open_page: Callable, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    assert explain(html=path, t=5, inputs=12, hidden=12, outputs=8) == 0
    page = open_page(path, width=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
