"""The documentation site builds without a warning, and its pages keep up with the code."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_qflex import QFlex

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").is_file(), reason="needs docs/ of the repository")


def test_arguments_of_the_table_exist() -> None:
    section = (DOCS / "algorithm.md").read_text().partition("## Arguments")[2].partition("\n## ")[0]
    names = set(re.findall(r"^\| .*?`(\w+)", section, re.MULTILINE)) - {"n_envs"}
    assert len(names) >= 8
    assert names <= set(inspect.signature(QFlex.__init__).parameters)


def test_defaults_of_the_table_are_those_of_the_constructor() -> None:
    section = (DOCS / "algorithm.md").read_text().partition("## Arguments")[2].partition("\n## ")[0]
    parameters = inspect.signature(QFlex.__init__).parameters
    rows = re.findall(r"^\| `(\w+)`(?: \([^|]*\))? \| `?([^|`]+)`? \|", section, re.MULTILINE)
    assert len(rows) >= 5
    for name, default in rows:
        assert repr(parameters[name].default).replace("'", '"').removesuffix(".0") == default, name


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb", reason="the docs extra is not installed")
    pytest.importorskip("furo", reason="the docs extra is not installed")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "api" / "qflex.html").read_text()
    assert "guidance_step_size" in page and "Euler steps K of the flow" in page
