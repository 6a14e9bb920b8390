"""Files that are there whole or not at all, whatever kills the process that writes them."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """
    Replace a file in one step.

    :param path: where; its folder is made if needed
    :param content: what it will hold
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """
    :param path: file to replace in one step
    :param data: what JSON can hold
    """
    write_whole(path, (json.dumps(data, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """
    :param path: a file of :func:`write_json`
    :return: its data, None if there is no such file
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
