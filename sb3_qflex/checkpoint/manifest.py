"""The record that makes a generation: what belongs to it, with sizes and checksums."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sb3_qflex.checkpoint.errors import CheckpointError

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class File:
    """Size in bytes, and hexadecimal digest, of a file's content."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "File":
        """Of a complete file."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

    def problem(self, path: Path) -> str | None:
        """What is wrong with the file that lies there, None if nothing is."""
        if not path.is_file():
            return f"{path.name} is missing"
        if path.stat().st_size != self.size:
            return f"{path.name} has {path.stat().st_size} bytes instead of {self.size}"
        return None if File.of(path) == self else f"the content of {path.name} has changed"


@dataclass(frozen=True)
class Segment:
    """
    Consecutive rows of the replay buffer; a row is one transition of every environment.

    :param name: File name.
    :param first: First row, counted from the first that this training stored.
    :param stop: One past the last row.
    :param file: Size and checksum.
    """

    name: str
    first: int
    stop: int
    file: File


@dataclass(frozen=True)
class Manifest:
    """
    :param run: Identity of the training.
    :param generation: Number of the checkpoint within the folder.
    :param num_timesteps: Environment steps of the model.
    :param n_envs: Environments.
    :param replay: Whether the replay buffer was saved.
    :param environments: Whether the states of the environments were saved.
    :param files: Files of the generation by name.
    :param segments: Segments of replay data that it needs, oldest first.
    :param versions: Of the packages that wrote it.
    """

    run: str
    generation: int
    num_timesteps: int
    n_envs: int
    replay: bool
    environments: bool
    files: dict[str, File]
    segments: list[Segment]
    versions: dict[str, str]

    def text(self) -> str:
        """The manifest as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read the JSON file; a ``CheckpointError`` if it is not one of a known format."""
        try:
            record: dict[str, Any] = json.loads(path.read_text())
            found = record.pop("format")
            if found != FORMAT:
                raise CheckpointError(f"format {found} is unknown to this version, which reads format {FORMAT}")
            record["files"] = {name: File(**file) for name, file in record["files"].items()}
            record["segments"] = [Segment(**{**one, "file": File(**one["file"])}) for one in record["segments"]]
            return cls(**record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path.name} cannot be read: {error!r}") from error

    def problems(self, generation: Path, segments: Path) -> list[str]:
        """What is missing or damaged in the folders of the generation and of the segments."""
        found = [file.problem(generation / name) for name, file in self.files.items()]
        found += [segment.file.problem(segments / segment.name) for segment in self.segments]
        return [problem for problem in found if problem is not None]
