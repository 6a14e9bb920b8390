"""JSON files that are there whole or not at all, whatever kills the process that writes them."""

import json
from pathlib import Path
from typing import Any

from sb3_qflex.common.persistence import write_atomically


def write_json(path: Path, data: Any) -> None:
    """
    :param path: file to replace in one step
    :param data: what JSON can hold
    """
    content = (json.dumps(data, indent=1) + "\n").encode()
    write_atomically(path, lambda file: file.write(content), "json")


def read_json(path: Path) -> Any:
    """
    :param path: a file of :func:`write_json`
    :return: its data, None if there is no such file
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
