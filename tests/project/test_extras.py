"""Each extra installs together with the rest: every requirement is there at a version that fits, and imports."""

import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

# Distributions whose import name is another one; the others are their name with underscores.
IMPORT_NAMES = {"pytest-xdist": "xdist", "import-linter": "importlinter", "types-PyYAML": None}
CORE = ""


def declared() -> dict[str, list[Requirement]]:
    """Requirements by extra, the unconditional ones under ``CORE``; empty where the package is not installed."""
    try:
        lines = metadata.requires("sb3-qflex") or []
    except metadata.PackageNotFoundError:
        return {}
    requirements = [Requirement(line) for line in lines]
    extras: dict[str, list[Requirement]] = {CORE: [r for r in requirements if r.marker is None]}
    for extra in metadata.metadata("sb3-qflex").get_all("Provides-Extra") or []:
        extras[extra] = [r for r in requirements if r.marker and r.marker.evaluate({"extra": extra})]
    return extras


def installed_version(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def missing(requirements: list[Requirement]) -> list[str]:
    return [r.name for r in requirements if installed_version(r) is None]


DECLARED = declared()
needs_install = pytest.mark.skipif(not DECLARED, reason="sb3-qflex is not installed, so that it has no metadata")


@needs_install
def test_all_extras_are_declared() -> None:
    assert set(DECLARED) == {CORE, "myosuite", "envs", "ray", "study", "export", "docs", "dev"}
    assert all(DECLARED.values())


@needs_install
@pytest.mark.parametrize("extra", DECLARED)
def test_versions_fit(extra: str) -> None:
    requirements = DECLARED[extra]
    absent = missing(requirements)
    if absent and extra != CORE:
        pytest.skip(f"extra {extra!r} is not installed: {', '.join(absent)}")
    assert not absent
    wrong = [str(r) for r in requirements if not r.specifier.contains(installed_version(r), prereleases=True)]
    assert not wrong


@needs_install
def test_requirements_import_together() -> None:
    # In one process with QFlex, extra after extra: what matters is that they go together.
    whole = [extra for extra in DECLARED if not missing(DECLARED[extra])]
    assert CORE in whole
    names = [IMPORT_NAMES.get(r.name, r.name.replace("-", "_")) for extra in whole for r in DECLARED[extra]]
    code = "import importlib, sb3_qflex.qflex\n" + "\n".join(f"importlib.import_module({n!r})" for n in names if n)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
