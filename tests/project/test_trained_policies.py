"""The policies that this repository has: their files, their figures, their pages, and what the wheel takes."""

import shutil
from pathlib import Path

import pytest
from helpers.places import ROOT
from setuptools import Distribution

from sb3_qflex.analysis.evaluation import Share
from sb3_qflex.analysis.pretrained import load_pretrained, play
from sb3_qflex.gallery import pages
from sb3_qflex.pretrained.index import HOME, MOST_BYTES, SUFFIXES, Collection, PretrainedError, describe_file

needs_repository = pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs the repository")

ENTRIES = Collection(HOME).entries
MOST_BYTES_OF_WHEEL = 10_000_000
EPISODES = 10
#: Played in the fast suite; the others' tasks take longer to build or to step.
QUICK = {"torso-pose", "pen-twirl", "object-hold"}
each = pytest.mark.parametrize("id", ENTRIES)


@each
def test_files_are_those_of_the_index(id: str) -> None:
    for suffix, described in ENTRIES[id].files.items():
        assert describe_file(Collection(HOME).file(ENTRIES[id], suffix)) == described
        assert described["bytes"] <= MOST_BYTES


@pytest.mark.parametrize("id", [pytest.param(id, marks=() if id in QUICK else pytest.mark.slow) for id in ENTRIES])
def test_a_policy_still_does_what_the_index_says(id: str) -> None:
    try:
        found = load_pretrained(id, HOME)
    except (PretrainedError, FileNotFoundError) as error:
        pytest.skip(str(error))
    played = found.entry.played
    again = play(found, EPISODES, played.seed)
    # Another processor's last bits change episodes, but not what the policy can do.
    for said, seen in ((played.at_end, again.at_end), (played.at_any_step, again.at_any_step)):
        assert (said is None) == (seen is None)
        if said is not None and isinstance(seen, Share):
            low, high = seen.interval(0.999)
            assert low <= said[0] <= high
    low, high = again.return_interval(0.9999)
    # Where all episodes are the same one the interval has no width.
    slack = 0.02 * abs(played.mean_return[0])
    assert low - slack <= played.mean_return[0] <= high + slack


def test_the_fast_suite_plays_some() -> None:
    assert set(ENTRIES) >= QUICK


def test_every_file_is_in_the_index() -> None:
    files = {path.name for suffix in SUFFIXES for path in HOME.glob(f"*{suffix}")}
    assert files <= {f"{entry.id}{suffix}" for entry in ENTRIES.values() for suffix in entry.files}


@needs_repository
def test_pages_are_written_from_the_index(tmp_path: Path) -> None:
    for name in (*pages.PAGES, *(f"{pages.GALLERY}/{one.name}" for one in (ROOT / pages.GALLERY).glob("*.gif"))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    # `sb3-qflex pretrained table` writes what differs.
    assert pages.write_pages(tmp_path, ENTRIES) == []


@needs_repository
def test_pictures_are_small_and_of_policies_that_do_their_task() -> None:
    for picture in (ROOT / pages.GALLERY).glob("*"):
        assert ENTRIES[picture.stem].succeeds and picture.suffix == ".gif"
        assert picture.stat().st_size <= 1_000_000


def package_data(root: Path) -> list[str]:
    """What setup.py takes of the folder of policies."""
    taken: dict[str, list[str]] = {}
    source = (root / "setup.py").read_text()
    names = {"__file__": str(root / "setup.py"), "__name__": "setup"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("setuptools.setup", lambda **given: taken.update(given["package_data"]) or Distribution())
        exec(compile(source, "setup.py", "exec"), names)
    return taken["sb3_qflex.pretrained"]


@needs_repository
@pytest.mark.parametrize(
    ("size", "is_taken"), [(MOST_BYTES_OF_WHEEL // 2 - 1, True), (MOST_BYTES_OF_WHEEL // 2, False)]
)
def test_the_wheel_takes_policies_while_they_are_small_together(tmp_path: Path, size: int, is_taken: bool) -> None:
    for name in ("setup.py", "README.md", "sb3_qflex/version.txt", "sb3_qflex/zoo/startup.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "sb3_qflex" / "pretrained").mkdir()
    for suffix in SUFFIXES:
        with (tmp_path / "sb3_qflex" / "pretrained" / f"one{suffix}").open("wb") as file:
            file.truncate(size)
    assert package_data(tmp_path) == ["index.json", *(f"*{suffix}" for suffix in SUFFIXES if is_taken)]
