"""Opening a saved model: is it one, is it whole, and by which versions was it written?"""

import io
import json
import pathlib
import pickle
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from stable_baselines3.common.save_util import open_path

from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.common.versions import warn_about_differences

#: What each file of SB3 has.
_MEMBERS = ("data", "policy.pth")
#: Names in SB3's system_info.txt, which serves for files that recorded nothing else.
_SB3_NAMES = {
    "Python": "Python",
    "Stable-Baselines3": "stable-baselines3",
    "PyTorch": "torch",
    "Numpy": "numpy",
    "Gymnasium": "gymnasium",
}


class BrokenFileError(ValueError):
    """A file is damaged, or is not a saved model of the algorithm."""


@contextmanager
def opened_model(
    path: str | pathlib.Path | io.BufferedIOBase, algorithm: str, optimizers: Iterable[str]
) -> Iterator[io.BufferedIOBase]:
    """
    Open a saved model, once it is known to be whole, and warn of versions that differ.

    :param path: Path, with or without ".zip", or an open file
    :param algorithm: Name of the algorithm
    :param optimizers: Those that its files have, by which they differ from other algorithms' files
    :return: The file, open for reading
    :raises BrokenFileError: Here or inside the ``with``, naming the file and what is wrong with it
    :raises FileNotFoundError: If it is not there
    """
    file = open_path(path, "r", suffix="zip")
    name = getattr(file, "name", "the open file")
    try:
        start = file.tell()
        warn_about_differences(_check_whole(file, str(name), algorithm, optimizers))
        file.seek(start)
        with _explained(str(name)):
            yield file
    finally:
        if file is not path:
            file.close()


def _check_whole(file: io.BufferedIOBase, name: str, algorithm: str, optimizers: Iterable[str]) -> dict[str, str]:
    """The recorded versions of a file that has all members of a saved model, each with its checksum."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(set(archive.namelist()), name, algorithm, optimizers)
            damaged = archive.testzip()
            if damaged is not None:
                raise BrokenFileError(
                    f"{name} is damaged: the checksum of its part {damaged!r} does not match.{_ADVICE}"
                )
            return _recorded_versions(archive, name, algorithm)
    except BrokenFileError:
        raise
    # Damaged headers of an archive raise errors of many kinds.
    except Exception as error:
        raise BrokenFileError(
            f"{name} is damaged or cut off, or no zip archive as {algorithm}.save writes it "
            f"({type(error).__name__}: {error}).{_ADVICE}"
        ) from error


_ADVICE = " Load another copy or an earlier checkpoint."


def _check_members(names: set[str], name: str, algorithm: str, optimizers: Iterable[str]) -> None:
    missing = [member for member in (*_MEMBERS, *(f"{one}.pth" for one in optimizers)) if member not in names]
    if not missing:
        return
    kind = "a model of another algorithm" if set(_MEMBERS) <= names else "not a model that was saved by SB3"
    raise BrokenFileError(f"{name} is no {algorithm} model: it lacks {', '.join(missing)}, and seems to be {kind}.")


def _recorded_versions(archive: zipfile.ZipFile, name: str, algorithm: str) -> dict[str, str]:
    data = json.loads(archive.read("data"))
    if not isinstance(data, dict):
        raise BrokenFileError(
            f"{name} is no {algorithm} model: its attributes are a {type(data).__name__}, not a dict."
        )
    versions = data.get("saved_versions")
    if isinstance(versions, dict):
        return {str(key): str(value) for key, value in versions.items()}
    if "system_info.txt" not in archive.namelist():
        return {}
    lines = archive.read("system_info.txt").decode().splitlines()
    pairs: list[Any] = [line.removeprefix("- ").split(": ", 1) for line in lines if ": " in line]
    return {_SB3_NAMES[key]: value for key, value in pairs if key in _SB3_NAMES}


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    # Our own check of spaces is an AssertionError too.
    except UnsupportedError:
        raise
    except (AssertionError, LookupError, AttributeError, ImportError, EOFError, pickle.PickleError) as error:
        raise BrokenFileError(
            f"{name} cannot be turned into a model ({type(error).__name__}: {error}). If it was saved with classes or "
            "functions of your own, they must be importable here; custom_objects= replaces single attributes."
        ) from error
