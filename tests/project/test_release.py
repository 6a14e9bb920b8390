"""The checks before a release notice what they are there for, and the repository passes them."""

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from project import release

import sb3_qflex

ROOT = release.ROOT

needs_repository = pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs the repository")


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A repository in which everything agrees on version 1.2.0."""
    for folder in ("sb3_qflex", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sb3_qflex" / "version.txt").write_text("1.2.0\n")
    (tmp_path / "CITATION.cff").write_text("version: 1.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0 (2030-01-01)\n\n- New.\n\n## 1.1.0\n\n- Old.\n")
    (tmp_path / "docs" / "upgrading.md").write_text("# Upgrading\n\n## 1.2.0\n\nNothing to do.\n")
    return tmp_path


@needs_repository
def test_this_repository_agrees() -> None:
    assert release.document_problems(ROOT) == []


@needs_repository
def test_version_has_one_source() -> None:
    assert sb3_qflex.__version__ == release.version_of(ROOT)
    for name in ("setup.py", "pyproject.toml", "docs/conf.py", "Makefile"):
        assert sb3_qflex.__version__ not in (ROOT / name).read_text(), f"{name} must read sb3_qflex/version.txt"


def test_agreement_passes(documents: Path) -> None:
    assert release.document_problems(documents) == []


@pytest.mark.parametrize(
    "name, text",
    [
        ("CITATION.cff", "version: 1.1.0\n"),
        ("CITATION.cff", "title: none\n"),
        ("CHANGELOG.md", "# Changelog\n\n## 1.1.0\n\n- Old.\n"),
        ("docs/upgrading.md", "# Upgrading\n\n## 1.2.0\n\n## 1.1.0\n\nText of the old one only.\n"),
    ],
)
def test_disagreement_is_named(documents: Path, name: str, text: str) -> None:
    (documents / name).write_text(text)
    (problem,) = release.document_problems(documents)
    assert name in problem and "1.2.0" in problem


def build(dist: Path, version: str, without: str = "") -> None:
    with tarfile.open(dist / f"sb3_qflex-{version}.tar.gz", "w:gz") as sdist:
        for name in set(release.IN_SDIST) - {without}:
            sdist.addfile(tarfile.TarInfo(f"sb3_qflex-{version}/{name}"), io.BytesIO())
    with zipfile.ZipFile(dist / f"sb3_qflex-{version}-py3-none-any.whl", "w") as wheel:
        for name in set(release.IN_WHEEL) - {without}:
            wheel.writestr(name, "")


@pytest.mark.parametrize("without", ["", "docs/index.md", "sb3_qflex/py.typed"])
def test_missing_files_of_the_artefacts_are_named(tmp_path: Path, without: str) -> None:
    build(tmp_path, "1.2.0", without)
    problems = release.artefact_problems(tmp_path, "1.2.0")
    assert len(problems) == bool(without) and without in "".join(problems)


def test_two_wheels_are_refused(tmp_path: Path) -> None:
    build(tmp_path, "1.2.0")
    (tmp_path / "sb3_qflex-1.1.0-py3-none-any.whl").touch()
    assert "one sdist and one wheel" in release.artefact_problems(tmp_path, "1.2.0")[0]


# --- The workflow ---


@needs_repository
def test_workflow_runs_targets_that_exist() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    # YAML 1.1 reads the key "on" as True.
    assert {"push", "pull_request"} <= set(workflow[True])
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {word for command in commands for word in re.findall(r"^make (\S+)", command, re.MULTILINE)}
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"lint", "types", "test", "wheel-check", "docs", "release-check"} <= called
    assert called <= targets


@needs_repository
def test_workflow_covers_the_supported_pythons() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    versions = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert versions == re.findall(r"Python :: (\d\.\d+)", (ROOT / "setup.py").read_text())
