"""One runner at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sb3_qflex.common.persistence import lock
from sb3_qflex.studies.definition import StudyError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Hold a folder's lock, which the kernel releases however the process ends.

    :param folder: made if needed
    :raises StudyError: if another process holds it
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            lock(file.fileno())
        except BlockingIOError as error:
            file.seek(0)
            raise StudyError(f"another runner, process {file.read().strip()}, works in {folder}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
