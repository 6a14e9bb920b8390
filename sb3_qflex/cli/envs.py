"""``sb3-qflex envs list`` and ``sb3-qflex envs speed``."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_qflex.cli.arguments import positive, told

if TYPE_CHECKING:
    from sb3_qflex.envs.catalogue import Entry

STEM = "environments-speed"


def list_ids(prog: str, argv: Sequence[str]) -> None:
    """Print which ids there are, which can be made here, and why the others cannot."""
    parser = _parser(prog, "List the environments: sizes, licences, and which can be made here.")
    chosen = parser.parse_args(argv)
    from sb3_qflex.envs.listing import listing

    print(listing(_entries(parser, chosen.ids)))


def speed(prog: str, argv: Sequence[str]) -> None:
    """Measure environments beside MuJoCo alone; print the report, or write it."""
    parser = _parser(prog, "Measure steps per second of the environments beside bare mj_step.")
    add = parser.add_argument
    add("--steps", type=positive, default=100, help="steps per round and id (default: %(default)s)")
    add("--rounds", type=positive, default=9, help="rounds, whose quartiles are shown (default: %(default)s)")
    add("--out", type=Path, help=f"folder to write {STEM}.md and {STEM}.json to (default: print)")
    chosen = parser.parse_args(argv)
    entries = _entries(parser, chosen.ids)
    from sb3_qflex.common.outputs import OutputFolder
    from sb3_qflex.speed.environments import measure
    from sb3_qflex.speed.report import to_dict, to_markdown

    folder = OutputFolder(chosen.out, STEM) if chosen.out else None
    with told(OSError):
        if folder:
            folder.check([f"{STEM}.md"])
    report = measure(entries, chosen.steps, chosen.rounds, f"{prog} {shlex.join(argv)}".strip())
    text = to_markdown(report, {})
    if folder:
        folder.write({f"{STEM}.md": text.encode()}, to_dict(report))
    else:
        print(text)


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=description)
    parser.add_argument("--ids", nargs="+", metavar="ID", help="only these ids")
    return parser


def _entries(parser: argparse.ArgumentParser, ids: Sequence[str] | None) -> "list[Entry]":
    from sb3_qflex.envs.catalogue import CATALOGUE

    known = {entry.id: entry for entry in CATALOGUE}
    unknown = [name for name in ids or () if name not in known]
    if unknown:
        parser.error(f"unknown ids {unknown}; known are {list(known)}")
    return [known[name] for name in ids or known]
