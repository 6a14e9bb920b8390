"""
A checkpoint folder on disk, and the order of writing that makes every moment safe to be killed in.

::

    checkpoint.json        marks the folder, with the identity of the training
    lock                   held by the training that writes
    segments/              replay data, appended
    generation-00000007/   model and state, with a manifest.json
    .writing-...           what is not complete yet

Segments are on disk before the generation that names them, which is written aside and appears by a rename; what no
generation needs any more is deleted only then.
"""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sb3_qflex.checkpoint.errors import CheckpointError
from sb3_qflex.checkpoint.manifest import MANIFEST, Manifest
from sb3_qflex.common.persistence import lock, sync, write_atomically

KEPT = 2
_MARKER, _LOCK, _SEGMENTS, _WRITING, _GENERATION = "checkpoint.json", "lock", "segments", ".writing-", "generation-"
_KIND = "sb3-qflex training checkpoint"
# A training that was killed may leave processes that hold the lock until they notice.
_LOCK_SECONDS = 3.0


class CheckpointFolder:
    """
    :param path: The folder; need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        self.segments = self.path / _SEGMENTS

    def generation(self, number: int) -> Path:
        """Folder of a generation."""
        return self.path / f"{_GENERATION}{number:08d}"

    def numbers(self) -> list[int]:
        """Numbers of the generations there, ascending."""
        names = (path.name for path in self.path.glob(f"{_GENERATION}*") if path.is_dir())
        return sorted(int(digits) for name in names if (digits := name.removeprefix(_GENERATION)).isdecimal())

    def run(self) -> str:
        """Identity of the training that the folder belongs to; a ``CheckpointError`` if the folder is none of ours."""
        try:
            marker = json.loads((self.path / _MARKER).read_text())
            if marker["kind"] == _KIND:
                return str(marker["run"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise CheckpointError(f"{self.path} is not a checkpoint folder: it has no valid {_MARKER}.")

    def create(self) -> None:
        """Make the folder, or leave the one there is; a ``CheckpointError`` if it holds something else."""
        self.path.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in self.path.iterdir()}
        if _MARKER not in names:
            # Also what a training leaves that was killed right here.
            others = sorted(name for name in names if name != _LOCK and not name.startswith(f".{_MARKER}."))
            if others:
                raise CheckpointError(
                    f"{self.path} holds something else ({', '.join(others[:3])}): give an empty or a new folder."
                )
            marker = json.dumps({"kind": _KIND, "run": uuid.uuid4().hex})
            write_atomically(self.path / _MARKER, marker.encode(), "json")
        self.run()
        self.segments.mkdir(exist_ok=True)
        sync(self.path)

    @contextmanager
    def lock(self, write: bool) -> Iterator[None]:
        """Keep other trainings out while the context lasts or the process lives; readers only keep writers out."""
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        descriptor = os.open(self.path / _LOCK, flags, 0o666)
        try:
            self._lock(descriptor, shared=not write)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, shared: bool) -> None:
        give_up = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                return lock(descriptor, shared)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise CheckpointError(
                        f"{self.path} is in use by another training: wait for it, or give another folder."
                    ) from None
                time.sleep(0.1)

    @contextmanager
    def new_generation(self, number: int) -> Iterator[Path]:
        """A folder to write the generation's files to; when the context ends well it becomes the generation."""
        aside = self.path / f"{_WRITING}{number:08d}"
        aside.mkdir()
        try:
            yield aside
            for path in aside.iterdir():
                sync(path)
            sync(aside)
            os.rename(aside, self.generation(number))
            sync(self.path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def verified(self, number: int) -> Manifest:
        """A generation's manifest, once all files were checked; a ``CheckpointError`` if one is missing or damaged."""
        folder = self.generation(number)
        manifest = Manifest.read(folder / MANIFEST)
        problems = manifest.problems(folder, self.segments)
        if problems:
            raise CheckpointError(f"{folder.name}: {'; '.join(problems[:5])}")
        return manifest

    def clean(self) -> None:
        """Delete all but the last generations, segments that none of them needs, and what was left half-written."""
        numbers = self.numbers()
        for number in numbers[:-KEPT]:
            # Renamed first: a generation that is half deleted must not look like one.
            removed = self.path / f"{_WRITING}removed-{number:08d}"
            os.rename(self.generation(number), removed)
        for path in self.path.glob(f"{_WRITING}*"):
            shutil.rmtree(path, ignore_errors=True)
        needed = {segment.name for number in numbers[-KEPT:] for segment in self._segments_of(number)}
        for path in self.segments.iterdir():
            if path.name not in needed:
                path.unlink(missing_ok=True)

    def _segments_of(self, number: int) -> list:
        try:
            return list(Manifest.read(self.generation(number) / MANIFEST).segments)
        except CheckpointError:
            return []  # damaged: it loads no more, with or without them
