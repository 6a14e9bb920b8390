"""Which ids there are and which can be made here, as a table."""

from collections.abc import Iterable, Sequence

from sb3_qflex.envs.catalogue import CATALOGUE, Entry

HEADER = ("id", "obs", "act", "bounds", "steps", "licence of the model", "here")


def table(rows: Iterable[Sequence[object]]) -> str:
    """Markdown table with aligned columns of a header and rows."""
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


def listing(entries: Sequence[Entry] = CATALOGUE) -> str:
    """Table of the ids, followed by why those that cannot be made here cannot, and what to do."""
    reasons = {entry.id: entry.missing() for entry in entries}
    lines = [table([HEADER, *(_row(entry, reasons[entry.id]) for entry in entries)])]
    lines += [f"\n{name}: {reason}" for name, reason in reasons.items() if reason]
    return "\n".join(lines)
