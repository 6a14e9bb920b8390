"""The documentation site builds without a warning, and its pages keep up with the code."""

import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.places import ROOT

from sb3_qflex import QFlex
from sb3_qflex.cli.table import COMMANDS

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
    reports = [*(DOCS / "results").glob("*/report.md"), DOCS / "pretrained.md"]
    reported = [triple for report in reports for triple in intervals(report.read_text())]
    quoted = intervals((ROOT / page).read_text())
    assert len(quoted) >= 3
    for triple in quoted:
        assert any(all(map(rounds_to, exact, triple)) for exact in reported), triple


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("api/*.md"))]


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_named_places_and_modules_exist(page: str) -> None:
    text = (ROOT / page).read_text().replace("docs/_build/html", "")  # which `make docs` writes
    places = re.findall(r"\b(?:sb3_qflex|tests|docs|examples|hyperparams)/[\w./-]*\w/?", text)
    assert [place for place in places if not (ROOT / place).exists()] == []
    for name in re.findall(r"\bsb3_qflex(?:\.\w+)+", text):
        assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_named_commands_exist(page: str) -> None:
    for words, second in re.findall(
        r"(?:^ *|`)sb3-qflex ([a-z][\w|-]*)(?: ([a-z]+))?", (ROOT / page).read_text(), re.MULTILINE
    ):
        for word in words.split("|"):
            assert word in COMMANDS
            assert not second or second in getattr(COMMANDS[word], "members", [second])


def test_the_map_names_places() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    places = [place for row in rows for place in re.findall(r"`([^`]+)`", row)]
    assert len(places) >= 20
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_contributing_shows_the_layers_that_are_checked() -> None:
    block = re.search(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert block
    shown = [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()]
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [contract for contract in linter["contracts"] if contract["type"] == "layers"]
    assert shown == contract["layers"]


def test_reports_are_listed_under_results() -> None:
    folder = DOCS / "results"
    reports = {str(page.relative_to(DOCS).with_suffix("")) for page in folder.glob("*/*.md")}
    listed = set(re.findall(r"^(?:.* <)?(results/\w+/\w+)>?$", (DOCS / "results.md").read_text(), re.MULTILINE))
    assert listed == reports
    assert "results/" not in (DOCS / "index.md").read_text()


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
