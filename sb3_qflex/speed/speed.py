"""Measure, print the table, write the files."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name

import torch as th

from sb3_qflex.common.machine import describe_machine
from sb3_qflex.common.outputs import OutputFolder
from sb3_qflex.common.versions import describe_versions
from sb3_qflex.speed import figures
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.report import Report, to_csv, to_dict, to_markdown
from sb3_qflex.speed.rows import ROWS
from sb3_qflex.speed.settings import Settings, full, quick


def run_speed(arguments: argparse.Namespace, command: str) -> None:
    """
    Run the command.

    :param arguments: Its arguments.
    :param command: The whole command line, for the report.
    :raises OSError: If there are files in the folder that may not be replaced.
    """
    rows = list(dict.fromkeys(arguments.rows))
    stem = _stem(arguments.quick, rows)
    outputs, unfinished = OutputFolder(arguments.out, stem), OutputFolder(arguments.out, f"{stem}-unfinished")
    pictures = {name: f"{stem}-{name}.png" for name in rows}
    # Before measuring, which may take long.
    outputs.check([f"{stem}.md", f"{stem}.csv", *pictures.values()])
    unfinished.check([f"{unfinished.stem}.md", f"{unfinished.stem}.csv"])
    th.set_num_threads(arguments.threads)
    settings = (quick if arguments.quick else full)(arguments.threads)
    title = "Speed of QFlex" + (" (quick form)" if arguments.quick else "")
    sections: list[Section] = []
    report = Report(title, command, describe_machine(arguments.threads), describe_versions(), sections)
    for name in rows:
        sections.append(_measure(name, settings))
        # A later row may exhaust the machine: what was measured is on the disk by then.
        unfinished.write(_texts(unfinished.stem, report, {}), to_dict(report))
    drawn = {section.name: png for section in sections if (png := figures.draw(section)) is not None}
    files = _texts(stem, report, {name: pictures[name] for name in drawn})
    files.update((pictures[name], png) for name, png in drawn.items())
    print(files[f"{stem}.md"].decode())
    print("Wrote", *outputs.write(files, to_dict(report)))
    unfinished.remove()


def _texts(stem: str, report: Report, pictures: Mapping[str, str]) -> dict[str, bytes]:
    return {f"{stem}.md": to_markdown(report, pictures).encode(), f"{stem}.csv": to_csv(report).encode()}


def _stem(is_quick: bool, rows: Sequence[str]) -> str:
    """First part of the file names: a run of some rows or of the quick form does not replace the whole table."""
    chosen = [] if set(rows) == set(ROWS) else rows
    return "-".join(["speed", *(["quick"] if is_quick else []), *chosen])


def _measure(name: str, settings: Settings) -> Section:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    section: Section = resolve_name(ROWS[name])(settings)
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    for reason in section.skipped:
        print(f"{name}: skipped {reason}", file=sys.stderr)
    return section
