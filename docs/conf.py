"""Sphinx configuration of the documentation site; ``make docs`` builds it."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

project = "sb3-qflex"
author = "The sb3-qflex authors"
copyright = author
release = version = (ROOT / "sb3_qflex" / "version.txt").read_text().strip()

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "myst_nb",
]
exclude_patterns = ["_build", "images/README.md"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# Notebooks are committed with their outputs, and a test executes them; the site only shows them.
nb_execution_mode = "off"
_GENERATED = DOCS / "notebooks"
_GENERATED.mkdir(exist_ok=True)
for notebook in (ROOT / "examples").glob("*.ipynb"):
    shutil.copyfile(notebook, _GENERATED / notebook.name)

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"sb3-qflex {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """
    Docstrings write |A| and ||g|| as they are read; in reStructuredText a bar begins a substitution.

    :param lines: The docstring, changed in place; literals and mathematics stay as they are
    """
    for index, line in enumerate(lines):
        parts = re.split(r"(``.*?``|:math:`.*?`)", line)
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[index] = "".join(parts)


def setup(app: Any) -> None:
    """
    :param app: Sphinx
    """
    app.connect("autodoc-process-docstring", escape_bars)
