"""What an analysis gives: a table, a figure and what they mean; written as CSV, Markdown and PNG."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sb3_qflex.common.machine import available_cores, describe_versions
from sb3_qflex.common.outputs import OutputFolder
from sb3_qflex.speed.report import format_number, markdown_table


@dataclass(frozen=True)
class Result:
    """
    An analysis that was carried out.

    :param title: heading
    :param text: what was computed, in Markdown
    :param table: the table that is shown
    :param figure: the figure
    :param details: further tables by name, written as CSV only
    """

    title: str
    text: str
    table: pd.DataFrame
    figure: Figure
    details: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def outputs(folder: Path, stem: str) -> OutputFolder:
    """The folder that files whose names begin with ``stem`` are to be written to."""
    return OutputFolder(folder, stem, "sb3-qflex analyse")


def file_names(stem: str) -> list[str]:
    """The files that every analysis writes, besides its JSON file and the details."""
    return [f"{stem}{suffix}" for suffix in (".md", ".csv", ".png")]


def to_markdown(result: Result, command: str, picture: str) -> str:
    """The page of an analysis that ``command`` computed; ``picture`` is the file name of its figure."""
    header = [str(name) for name in result.table.columns]
    rows = [[_cell(value) for value in row] for row in result.table.itertuples(index=False, name=None)]
    parts = [f"# {result.title}", f"`{command}`", result.text, markdown_table(header, rows)]
    return "\n\n".join([*parts, f"![{result.title}]({picture})"]) + "\n"


def _cell(value: object) -> str:
    return format_number(float(value)) if isinstance(value, Real) and not isinstance(value, Integral) else str(value)


def write(result: Result, folder: OutputFolder, stem: str, command: str) -> list[Path]:
    """
    The files written, for a ``folder`` from :func:`outputs`.

    :raises ForeignFileError: if one of them is there and not of a former run
    """
    picture = io.BytesIO()
    result.figure.savefig(picture, format="png", dpi=150)
    markdown, table, png = file_names(stem)
    files = {
        markdown: to_markdown(result, command, png).encode(),
        table: _csv(result.table),
        png: picture.getvalue(),
        **{f"{stem}-{name}.csv": _csv(detail) for name, detail in result.details.items()},
    }
    facts = {"title": result.title, "command": command, "versions": describe_versions(), "cores": available_cores()}
    return folder.write(files, facts)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
