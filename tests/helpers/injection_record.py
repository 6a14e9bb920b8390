"""What a command that injects faults writes to ``docs/robustness/<name>.json`` for the table in the docs."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from helpers.places import DOCS

from sb3_qflex.common.versions import describe_versions

FOLDER = DOCS / "robustness"
#: Columns of the table, in this order.
COLUMNS = ("fault", "how", "count", "outcome", "lost")


def write_record(name: str, folder: Path = FOLDER, **columns: Any) -> Path:
    """
    :param name: Of the file, without suffix
    :param folder: Where it goes; made if need be
    :param columns: Values of :data:`COLUMNS`, and whatever else was measured
    :return: The file
    """
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"A record needs {', '.join(missing)} as well.")
    command = " ".join(["python", str(Path(sys.argv[0]).as_posix()), *sys.argv[1:]])
    record = {**columns, "command": command, "versions": describe_versions(), "date": date.today().isoformat()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
