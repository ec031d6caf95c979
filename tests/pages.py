"""Pages that bptt writes, taken apart."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest


class Page(HTMLParser):
    """A report as a browser takes it apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.elements[-1][0] if self.elements else "", data))

    @property
    def words(self) -> str:
        """All that a reader sees."""
        seen = [data for tag, data in self.texts if tag not in ("script", "style")]
        return " ".join(" ".join(seen).split())

    @property
    def charts(self) -> dict[str, dict[str, Any]]:
        """Vega-Lite of each chart by its id."""
        found = re.findall(
            r'<script type="application/json" id="([^"]+)">(.*?)</script>', self.source, re.DOTALL
        )
        return {name: json.loads(spec, parse_constant=pytest.fail) for name, spec in found}

    def rows(self, chart: str) -> list[dict[str, Any]]:
        return self.charts[chart]["datasets"]["rows"]

    def attributes(self, *names: str) -> list[str]:
        return [a[n] or "" for _, a in self.elements for n in names if n in a]
