"""Formulas as MathML, which browsers draw themselves: no script, no font, no network.

Sphinx offers scripts or images. docutils, on which it stands, translates LaTeX to MathML.
"""

from typing import Any

from docutils.nodes import SkipNode, math, math_block
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx


def visit_inline(writer: Any, node: math) -> None:
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise SkipNode


def visit_block(writer: Any, node: math_block) -> None:
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="formula">{formula}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
