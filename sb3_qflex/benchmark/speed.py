"""``python -m sb3_qflex.benchmark speed``: measure, print the table, write the files."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch as th

from sb3_qflex.benchmark import figures
from sb3_qflex.benchmark.machine import available_cores, describe_machine
from sb3_qflex.benchmark.measurement import Section
from sb3_qflex.benchmark.outputs import OutputFolder
from sb3_qflex.benchmark.report import Report, to_csv, to_dict, to_markdown
from sb3_qflex.benchmark.rows import ROWS
from sb3_qflex.benchmark.settings import Settings, full, quick
from sb3_qflex.versions import describe_versions

_COMMAND = "python -m sb3_qflex.benchmark speed"


def run_speed(argv: Sequence[str]) -> None:
    """
    Run the command.

    :param argv: Its arguments.
    """
    arguments = _parser().parse_args(argv)
    rows = list(dict.fromkeys(arguments.rows))
    stem = _stem(arguments.quick, rows)
    outputs = OutputFolder(arguments.out, stem)
    pictures = {name: f"{stem}-{name}.png" for name in rows}
    texts = {"markdown": f"{stem}.md", "csv": f"{stem}.csv"}
    try:
        # Before measuring, which may take long.
        outputs.check([*texts.values(), *pictures.values()])
    except OSError as error:
        sys.exit(str(error))
    th.set_num_threads(arguments.threads)
    settings = (quick if arguments.quick else full)(arguments.threads)
    machine = describe_machine(arguments.threads)
    sections = [_measure(name, settings) for name in rows]
    title = "Speed of QFlex" + (" (quick form)" if arguments.quick else "")
    report = Report(title, shlex.join([*shlex.split(_COMMAND), *argv]), machine, describe_versions(), sections)
    drawn = {section.name: png for section in sections if (png := figures.draw(section)) is not None}
    markdown = to_markdown(report, {name: pictures[name] for name in drawn})
    files = {texts["markdown"]: markdown.encode(), texts["csv"]: to_csv(report).encode()}
    files.update((pictures[name], png) for name, png in drawn.items())
    print(markdown)
    print("Wrote", *outputs.write(files, to_dict(report)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(_COMMAND, description="Measure the speed of QFlex on this machine.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs", "speed"),
        help="folder for the files; own ones of a former run are replaced (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, with one size")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="NAME",
        help=f"which of {', '.join(ROWS)} (default: all)",
    )
    parser.add_argument(
        "--threads",
        type=positive_integer,
        default=available_cores(),
        help="of torch (default: cores available, %(default)s)",
    )
    return parser


def _stem(is_quick: bool, rows: Sequence[str]) -> str:
    """First part of the file names: a run of some rows or of the quick form does not replace the whole table."""
    chosen = [] if set(rows) == set(ROWS) else rows
    return "-".join(["speed", *(["quick"] if is_quick else []), *chosen])


def positive_integer(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def _measure(name: str, settings: Settings) -> Section:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    section = ROWS[name](settings)
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    for reason in section.skipped:
        print(f"{name}: skipped {reason}", file=sys.stderr)
    return section
