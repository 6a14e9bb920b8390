"""``python -m sb3_qflex.envs``: which ids there are and which can be made here; ``--benchmark``: how fast they are."""

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sb3_qflex.envs.catalogue import CATALOGUE, Entry

STEM = "environments-speed"
HEADER = ("id", "obs", "act", "bounds", "steps", "licence of the model", "here")


def table(rows: Iterable[Sequence[object]]) -> str:
    """
    :param rows: Header and rows of equal length
    :return: Markdown table with aligned columns
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )


def _row(entry: Entry, reason: str) -> tuple[object, ...]:
    state = "no" if reason else "after a download" if entry.downloads() else "yes"
    low, high = entry.bounds
    return entry.id, entry.observations, entry.actions, f"[{low:g}, {high:g}]", entry.steps, entry.licence, state


def listing() -> str:
    """
    :return: Table of all ids, followed by why those that cannot be made here cannot, and what to do
    """
    reasons = {entry.id: entry.missing() for entry in CATALOGUE}
    lines = [table([HEADER, *(_row(entry, reasons[entry.id]) for entry in CATALOGUE)])]
    lines += [f"\n{name}: {reason}" for name, reason in reasons.items() if reason]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    :param arguments: Command line without the program's name
    :return: Exit code
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_qflex.envs", description=__doc__)
    parser.add_argument("--benchmark", action="store_true", help="measure steps per second beside bare mj_step")
    parser.add_argument("--steps", type=int, default=100, help="steps per round and id (default: 100)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds, whose quartiles are shown (default: 9)")
    parser.add_argument("--ids", nargs="+", metavar="ID", help="only these ids")
    parser.add_argument("--out", type=Path, help=f"folder to write {STEM}.md and {STEM}.json to (default: print)")
    chosen = parser.parse_args(arguments)
    known = {entry.id: entry for entry in CATALOGUE}
    unknown = [name for name in chosen.ids or () if name not in known]
    if unknown:
        parser.error(f"unknown ids {unknown}; known are {list(known)}")
    if not chosen.benchmark:
        print(listing())
        return 0
    if chosen.steps < 1 or chosen.rounds < 1:
        parser.error(f"--steps and --rounds must be at least 1, got {chosen.steps} and {chosen.rounds}")
    command = shlex.join(["python", "-m", "sb3_qflex.envs", *(sys.argv[1:] if arguments is None else arguments)])
    return benchmark([known[name] for name in chosen.ids or known], chosen, command)


def benchmark(entries: Sequence[Entry], chosen: argparse.Namespace, command: str) -> int:
    """
    :param entries: Ids to measure
    :param chosen: ``steps``, ``rounds`` and ``out`` of the command line
    :param command: The command line
    :return: Exit code
    """
    from sb3_qflex.common.outputs import OutputFolder
    from sb3_qflex.speed.environments import measure
    from sb3_qflex.speed.report import to_dict, to_markdown

    folder = OutputFolder(chosen.out, STEM) if chosen.out else None
    try:
        if folder:
            folder.check([f"{STEM}.md"])
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report = measure(entries, chosen.steps, chosen.rounds, command)
    text = to_markdown(report, {})
    if folder:
        folder.write({f"{STEM}.md": text.encode()}, to_dict(report))
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
