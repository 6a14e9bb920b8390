"""The documentation site builds without a warning, and its pages keep up with the code."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.places import ROOT

from sb3_qflex import QFlex

DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").is_file(), reason="needs docs/ of the repository")


def argument_rows() -> list[tuple[list[str], list[str]]]:
    """Names and defaults of each row in the algorithm page's table of arguments."""
    section = (DOCS / "algorithm.md").read_text().partition("## Arguments")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", section, re.MULTILINE)
    return [(re.findall(r"`(\w+)", names), defaults.replace("`", "").split(", ")) for names, defaults in rows[1:]]


def test_the_table_of_arguments_agrees_with_the_constructor() -> None:
    rows = argument_rows()
    assert len(rows) >= 8
    parameters = inspect.signature(QFlex.__init__).parameters
    for names, defaults in rows:
        # The environment's number of copies is none of ours, and the networks' widths are the policy's.
        if names == ["policy_kwargs"]:
            continue
        for name, default in zip(names, defaults, strict=True):
            if name != "n_envs":
                assert str(parameters[name].default).removesuffix(".0") == default.strip('"'), name


def intervals(text: str) -> list[list[str]]:
    """Each "mean [low, high]" of a text."""
    number = r"(-?\d+(?:\.\d+)?)"
    return [list(found) for found in re.findall(rf"{number} \[{number}, {number}\]", text)]


def rounds_to(exact: str, quoted: str) -> bool:
    decimals = len(quoted.partition(".")[2])
    return abs(float(exact) - float(quoted)) <= 0.5 * 10**-decimals + 1e-9


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_quoted_intervals_are_those_of_a_report(page: str) -> None:
    reported = [triple for report in (DOCS / "results").glob("*/report.md") for triple in intervals(report.read_text())]
    quoted = intervals((ROOT / page).read_text())
    assert len(quoted) >= 3
    for triple in quoted:
        assert any(all(map(rounds_to, exact, triple)) for exact in reported), triple


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
