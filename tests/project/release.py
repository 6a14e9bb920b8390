"""What has to agree before a release; ``make release-check`` runs it as a script with the folder of the artefacts."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

import yaml

# A script finds no helpers of the tests.
ROOT = Path(__file__).resolve().parents[2]
# What a source distribution must hold beside the package, and the files of a wheel that are easily lost.
IN_SDIST = (
    "tests/common/test_run.py",
    "docs/index.md",
    "docs/conf.py",
    "docs/images/H1Run.png",
    "examples/train_myosuite.py",
    "examples/flow_on_planar_chain.ipynb",
    "hyperparams/small/qflex.yml",
    "hyperparams/fast/qflex.yml",
    ".github/workflows/ci.yml",
    "constraints.txt",
    "Makefile",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
)
IN_WHEEL = (
    "sb3_qflex/py.typed",
    "sb3_qflex/version.txt",
    "sb3_qflex/pretrained/index.json",
    "sb3_qflex/hyperparams/qflex.yml",
    "sb3_qflex/hyperparams/small/qflex.yml",
    "sb3_qflex/hyperparams/fast/qflex.yml",
    "sb3_qflex_zoo.pth",
    "_sb3_qflex_startup.py",
)


def version_of(root: Path) -> str:
    """
    :param root: Root of the repository
    :return: The one version, of sb3_qflex/version.txt
    """
    return (root / "sb3_qflex" / "version.txt").read_text().strip()


def first_section(page: Path) -> str:
    """
    :param page: A Markdown file with one ``##`` section for each version, newest first
    :return: Version of the newest section with text in it, or an empty string
    """
    match = re.search(r"^## (\d\S*)[^\n]*\n+(?!## )\S", page.read_text(), re.MULTILINE)
    return match[1] if match else ""


def document_problems(root: Path) -> list[str]:
    """
    :param root: Root of the repository
    :return: What disagrees with sb3_qflex/version.txt
    """
    version = version_of(root)
    found = {
        "version of CITATION.cff": str(yaml.safe_load((root / "CITATION.cff").read_text()).get("version")),
        "newest section of CHANGELOG.md": first_section(root / "CHANGELOG.md"),
        "newest section of docs/upgrading.md": first_section(root / "docs" / "upgrading.md"),
    }
    return [f"{name} is {value!r}, version.txt says {version!r}" for name, value in found.items() if value != version]


def artefact_problems(dist: Path, version: str) -> list[str]:
    """
    :param dist: Folder with one sdist and one wheel
    :param version: The version they must have
    :return: What is missing
    """
    sdists, wheels = sorted(dist.glob("*.tar.gz")), sorted(dist.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        return [f"{dist} must hold one sdist and one wheel, it has {[p.name for p in sdists + wheels]}"]
    prefix = f"sb3_qflex-{version}"
    with tarfile.open(sdists[0]) as sdist:
        missing = [f"sdist: {name}" for name in IN_SDIST if f"{prefix}/{name}" not in sdist.getnames()]
    with zipfile.ZipFile(wheels[0]) as wheel:
        missing += [f"wheel: {name}" for name in IN_WHEEL if name not in wheel.namelist()]
        missing += [f"wheel: unexpected {name}" for name in wheel.namelist() if name.startswith(("tests/", "docs/"))]
    return [f"missing or wrong in the artefacts: {name}" for name in missing]


def main(dist: Path) -> None:
    """
    :param dist: Folder of the artefacts
    """
    version = version_of(ROOT)
    problems = document_problems(ROOT) + artefact_problems(dist, version)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{version}: version, citation, changelog, upgrade notes and artefacts agree")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
