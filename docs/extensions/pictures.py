"""Pictures of `figures/`, drawn anew by this build and put into the page itself.

Inside the page they take its colours, light or dark, and their text can be searched. The SVG files
in the folder are for who reads the Markdown as it lies in the repository.
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from figures import unfolded
from figures.drawing import COLOURS, drawn
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from bptt.lesson import make_example
from bptt.lesson.walk import walk
from bptt.lesson.webpage import webpage


def inside_a_page(name: str, svg: str, words: str) -> str:
    """The SVG as an element of a page: no colours of its own, and ids that only it has."""
    body = svg.replace(COLOURS, "")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    if "aria-label" not in body[: body.index(">")]:
        body = body.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)
    return f'<figure class="picture">{body}</figure>'


class DrawPictures(SphinxPostTransform):
    """Each image of the folder of figures becomes what its module draws."""

    default_priority = 5  # before images are collected
    formats = ("html",)

    def run(self, **_: object) -> None:
        for image in list(self.document.findall(nodes.image)):
            path = Path(image["uri"])
            if path.parent.name == "figures":
                svg = inside_a_page(path.stem, drawn(path.stem), image.get("alt", ""))
                image.replace_self(nodes.raw("", svg, format="html"))


def add_pages(app: Sphinx, error: Exception | None) -> None:
    """What readers can play with, as pages that an iframe shows."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / "_static"
        (folder / "unfolded.html").write_text(unfolded.page())
        (folder / "lesson.html").write_text(webpage(walk(make_example())))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(DrawPictures)
    app.connect("build-finished", add_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
