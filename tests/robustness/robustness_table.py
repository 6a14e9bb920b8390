"""Put the table of injected faults into ``docs/robustness.md``:
``PYTHONPATH=tests python tests/robustness/robustness_table.py``.

The rows are the files of ``docs/robustness``, which the commands that inject faults write.
"""

import json
from pathlib import Path

from helpers.injection_record import COLUMNS, FOLDER

PAGE = FOLDER.parent / "robustness.md"
_BEGIN = "<!-- table: PYTHONPATH=tests python tests/robustness/robustness_table.py -->\n"
_END = "<!-- end of table -->\n"
_HEADS = ("Fault", "How it was injected", "Times", "What happened", "What was lost", "Command")


def table(folder: Path = FOLDER) -> str:
    """
    :param folder: With one JSON file for each fault
    :return: A Markdown table, its rows in the order of the files' names
    """
    rows = [_HEADS, ("---",) * len(_HEADS)]
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        values = (f"{record[name]:,}" if name == "count" else str(record[name]) for name in COLUMNS)
        rows.append((*values, f"`{record['command']}`"))
    return "".join(f"| {' | '.join(value.replace('|', chr(92) + '|') for value in row)} |\n" for row in rows)


def with_table(page: str, folder: Path = FOLDER) -> str:
    """
    :param page: Text with the two comments that enclose the table
    :param folder: With one JSON file for each fault
    :return: The text with the table of the files
    """
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table(folder)}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    print(PAGE)
