"""How Sphinx builds the book: `make docs`. Neither the build nor a page fetches anything."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the book, and benchmarks/
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # numbers in the chapters are a CPU's

import handgrad  # noqa: E402

project = "handgrad"
author = "The handgrad authors"
copyright = author
version = release = handgrad.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "book"]
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "generated", "book"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
smartquotes = False
python_use_unqualified_type_names = True
toc_object_entries = False
suppress_warnings = ["ref.python"]
"""A class named in an annotation may have a namesake in another room: then it is not linked."""

BESIDE = HERE / "generated" / "beside"
BESIDE.mkdir(parents=True, exist_ok=True)
html_extra_path = [str(BESIDE)]
"""Pages of the tape, which stand by themselves."""

html_theme = "furo"
html_title = "handgrad"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b6e4f",
        "color-brand-content": "#0b6e4f",
        "color-brand-visited": "#3d5a80",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6fd0ab",
        "color-brand-content": "#6fd0ab",
        "color-brand-visited": "#9db8d8",
    },
}
