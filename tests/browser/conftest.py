"""Pages opened as a reader opens them: in Chromium, without a network."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

WIDE = 1100  # pixels
HOSTILE_NAME = "<script>alert(1)</script>"


@dataclass
class Opened:
    """A page, and what it complained of and asked for while it was open."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Nothing on the console, no request but for the file itself."""
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("data:", "blob:"))] == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Playwright would download a browser of its own; this one is there."""
    path = shutil.which("chromium")
    assert path, "expected Chromium on the path. Install it: apt-get install chromium"
    with sync_playwright() as playwright:
        # No sandbox: it needs rights that root in a container does not give away.
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens a file; at the test's end no page may have complained or asked for anything."""
    opened: list[Opened] = []

    def open_page(path: Path, *, width: int = WIDE, dark: bool = False) -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        one = Opened(context.new_page())
        opened.append(one)
        url = path.resolve().as_uri()
        one.page.on("console", lambda message: one.complaints.append(message.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("dialog", lambda dialog: one.complaints.append(f"dialog: {dialog.message}"))
        one.page.on("request", lambda r: one.requests.append(r.url) if r.url != url else None)
        one.page.goto(url)
        return one

    yield open_page
    for one in opened:
        one.check()
        one.page.context.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A small run on a table whose names are hostile, trained and reported by the command."""
    folder = tmp_path_factory.mktemp("trained")
    table = folder / "data.csv"
    rows = [f"{i},{math.sin(i / 3):.4f},{math.cos(i / 5):.4f}" for i in range(600)]
    table.write_text("\n".join([f"time,{HOSTILE_NAME},{HOSTILE_NAME.upper()}", *rows]) + "\n")
    command = [sys.executable, "-m", "bptt", "train", str(table), "--target", HOSTILE_NAME]
    more = ["--hidden", "6", "--epochs", "2", "--window", "48", "--out", str(folder / "run")]
    subprocess.run([*command, *more], check=True, capture_output=True)
    return folder / "run"
