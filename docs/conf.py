"""How Sphinx builds the site: `make docs`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the pictures' networks are small

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from bptt import __version__  # noqa: E402

project = "bptt"
version = release = __version__
copyright = "the authors of bptt. MIT licence"
exclude_patterns = ["requirements.txt"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "cyclopts.ext.sphinx",
    "extensions.mathml",
    "extensions.pictures",
    "extensions.completeness",
    "extensions.docstrings",
]

myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Docstrings write `name` where reStructuredText has a role: link it where it is known.
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "none"  # shapes, units and what may be given are in the words
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

highlight_language = "none"

html_theme = "furo"
html_title = "bptt"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
