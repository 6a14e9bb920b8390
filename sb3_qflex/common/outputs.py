"""Files of a report in a folder that may hold other files: only the report's own ones are replaced."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_WRITTEN_BY = "sb3-qflex"


class ForeignFileError(FileExistsError):
    """A file of that name is there and was not written by a former run, or was edited since."""


class OutputFolder:
    """
    A folder and the files that a former run left in it, known by the hashes that its JSON file holds.

    :param folder: Made when something is written.
    :param stem: First part of all file names.
    :param written_by: Command that owns the files.
    """

    def __init__(self, folder: Path, stem: str, written_by: str = _WRITTEN_BY):
        self.folder = folder
        self.stem = stem
        self.written_by = written_by
        self.index = f"{stem}.json"
        self._own = self._read_index()

    def _read_index(self) -> dict[str, str]:
        try:
            data = json.loads((self.folder / self.index).read_text())
            return data["files"] if data["written_by"] == self.written_by else {}
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return {}

    def check(self, names: Iterable[str]) -> None:
        """Refuse, by ``ForeignFileError`` or ``NotADirectoryError``, to replace files that are not the report's own."""
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is not a folder: choose another one with --out")
        foreign = [name for name in names if (self.folder / name).exists() and not self._is_own(name)]
        if (self.folder / self.index).exists() and not self._own:
            foreign.append(self.index)
        if foreign:
            raise ForeignFileError(
                f"{self.folder} has files that this command did not write, or that were edited since: "
                f"{', '.join(foreign)}. Move them away, or choose another folder with --out."
            )

    def _is_own(self, name: str) -> bool:
        return self._own.get(name) == _hash((self.folder / name).read_bytes())

    def write(self, files: Mapping[str, bytes], data: Mapping[str, Any]) -> list[Path]:
        """Write all files, and the data to the JSON file; those of a former run that are not among them go."""
        self.check(files)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._unlink(self._own.keys() - files.keys())
        self._own = {name: _hash(content) for name, content in files.items()}
        index = {"written_by": self.written_by, **data, "files": self._own}
        contents = {**files, self.index: (json.dumps(index, indent=1) + "\n").encode()}
        for name, content in contents.items():
            (self.folder / name).write_bytes(content)
        return [self.folder / name for name in contents]

    def remove(self) -> None:
        """Remove what was written, the JSON file too."""
        self._unlink(self._own)
        if self._own:
            (self.folder / self.index).unlink(missing_ok=True)

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            if (self.folder / name).exists() and self._is_own(name):
                (self.folder / name).unlink()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def free_stem(folder: Path, name: str) -> Path:
    """Path in the folder, without extension, with the first number after the name that no file there has."""
    number = 1
    while any(folder.glob(f"{name}_{number}.*")):
        number += 1
    return folder / f"{name}_{number}"
