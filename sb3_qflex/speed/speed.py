"""Measure, print the table, write the files."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pkgutil import resolve_name

import torch as th

from sb3_qflex.common.machine import describe_machine
from sb3_qflex.common.outputs import OutputFolder
from sb3_qflex.common.versions import describe_versions
from sb3_qflex.speed import figures
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.report import Report, to_csv, to_dict, to_markdown
from sb3_qflex.speed.rows import BY_DEFAULT, ON_CUDA, ROWS
from sb3_qflex.speed.settings import Settings, full, quick


def run_speed(arguments: argparse.Namespace, command: str) -> None:
    """
    Run the command.

    :param arguments: Its arguments.
    :param command: The whole command line, for the report.
    :raises OSError: If there are files in the folder that may not be replaced.
    :raises ValueError: If the device is not there, or does not run a row.
    """
    rows = _rows(arguments.rows, arguments.device)
    stem = _stem(arguments.quick, rows, arguments.device)
    outputs, unfinished = OutputFolder(arguments.out, stem), OutputFolder(arguments.out, f"{stem}-unfinished")
    pictures = {name: f"{stem}-{name}.png" for name in rows}
    # Before measuring, which may take long.
    outputs.check([f"{stem}.md", f"{stem}.csv", *pictures.values()])
    unfinished.check([f"{unfinished.stem}.md", f"{unfinished.stem}.csv"])
    th.set_num_threads(arguments.threads)
    settings = replace((quick if arguments.quick else full)(arguments.threads), device=arguments.device)
    title = "Speed of QFlex" + (" (quick form)" if arguments.quick else "")
    sections: list[Section] = []
    machine = describe_machine(arguments.threads)
    if arguments.device == "cuda":
        machine["device"] = th.cuda.get_device_name()
    report = Report(title, command, machine, describe_versions(), sections)
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


def _rows(chosen: Sequence[str] | None, device: str) -> list[str]:
    """Names of the rows to measure."""
    if device == "cpu":
        return list(dict.fromkeys(chosen or BY_DEFAULT))
    if not th.cuda.is_available():
        build = "was built without CUDA" if th.version.cuda is None else f"was built for CUDA {th.version.cuda}"
        raise ValueError(
            f"--device {device}: torch finds no CUDA device here (torch {th.__version__} {build}). Run it on a machine "
            "with a card and a torch built for it, or leave --device out."
        )
    rows = list(dict.fromkeys(chosen or ON_CUDA))
    others = [name for name in rows if name not in ON_CUDA]
    if others:
        raise ValueError(f"--device {device} has the rows {', '.join(ON_CUDA)}, not {', '.join(others)}.")
    return rows


def _stem(is_quick: bool, rows: Sequence[str], device: str = "cpu") -> str:
    """
    First part of the file names: a run of some rows, of the quick form or of another device does not replace the whole
    table.
    """
    everything = set(rows) >= set(BY_DEFAULT if device == "cpu" else ON_CUDA)
    words = [device if device != "cpu" else "", "quick" if is_quick else "", *([] if everything else rows)]
    return "-".join(["speed", *filter(None, words)])


def _measure(name: str, settings: Settings) -> Section:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    section: Section = resolve_name(ROWS[name])(settings)
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    for reason in section.skipped:
        print(f"{name}: skipped {reason}", file=sys.stderr)
    return section
