"""The report as Markdown, CSV and JSON, from sections that were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from sb3_qflex.speed.measurement import Measurement, Section

_COLUMNS = ("rows", "case", "quantity", "unit", "lower_quartile", "median", "upper_quartile", "samples")


@dataclass(frozen=True)
class Report:
    """
    All of a run.

    :param title: Heading.
    :param command: The command that measured it.
    :param machine: What it ran on.
    :param versions: What it ran with.
    :param sections: Row groups.
    """

    title: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    sections: Sequence[Section]


def to_markdown(report: Report, figures: Mapping[str, str]) -> str:
    """
    :param report: The run.
    :param figures: File names of figures by the name of their section.
    """
    facts = {"command": f"`{report.command}`", **report.machine, "versions": _join(report.versions)}
    parts = [
        f"# {report.title}",
        "Medians, with the lower and upper quartile in brackets; what is compared takes turns in one process, and\n"
        "ratios are taken in each round. Sizes are observation / action.",
        markdown_table(["run", ""], [[name, value] for name, value in facts.items()]),
    ]
    for section in report.sections:
        parts += [f"## {section.title}", section.text, *_tables(section)]
        parts += [f"Skipped: {reason}." for reason in section.skipped]
        if section.name in figures:
            parts.append(f"![{section.title}]({figures[section.name]})")
    return "\n\n".join(parts) + "\n"


def _join(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _tables(section: Section) -> list[str]:
    """One table for neighbouring cases of which the same quantities are known."""
    cases: dict[str, list[Measurement]] = {}
    for one in section.measurements:
        cases.setdefault(one.case, []).append(one)
    alike = groupby(cases.items(), key=lambda item: [_heading(one) for one in item[1]])
    return [
        markdown_table(["", *columns], [[case, *map(_cell, found)] for case, found in group])
        for columns, group in alike
    ]


def _heading(one: Measurement) -> str:
    return f"{one.quantity} [{one.unit}]" if one.unit else one.quantity


def _cell(one: Measurement) -> str:
    low, median, high = map(format_number, one.quartiles)
    return median if len(one.samples) == 1 else f"{median} ({low} to {high})"


def format_number(value: float) -> str:
    """Three significant digits, without an exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose rows have as many cells as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def to_csv(report: Report) -> str:
    """Quartiles, one line per figure."""
    rows = [
        (section.name, one.case, one.quantity, one.unit, *one.quartiles, len(one.samples))
        for section in report.sections
        for one in section.measurements
    ]
    return pd.DataFrame(rows, columns=_COLUMNS).to_csv(index=False)


def to_dict(report: Report) -> dict[str, Any]:
    """Everything with all samples, for JSON."""
    return {
        **vars(report),
        "sections": [
            {
                "rows": section.name,
                "skipped": section.skipped,
                "measurements": [vars(one) | {"quartiles": one.quartiles} for one in section.measurements],
            }
            for section in report.sections
        ],
    }
