"""What the documentation says of the trained policies: regions of its pages that are written from the index."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sb3_qflex.analysis.evaluation import with_interval
from sb3_qflex.pretrained.index import Entry, PretrainedError
from sb3_qflex.speed.report import markdown_table

#: Pages with regions, relative to the root of the repository, and where pictures lie.
PAGES = ("README.md", "docs/index.md", "docs/pretrained.md")
GALLERY = Path("docs/gallery")
#: Pictures in README and on the front page, and in a row of the page.
_FEW = 3
_NONE = "There is none yet."


def rows_of(entries: Iterable[Entry]) -> str:
    """The table of ``sb3-qflex pretrained list``."""
    rows = [[one.id, one.environment, *_figures(one), f"{sum(_sizes(one)) / 1000:.0f} kB"] for one in entries]
    return markdown_table(["id", "task", *_FIGURES, "files"], rows) if rows else _NONE


_FIGURES = ("success at the last step", "at any step", "return", "episodes")


def _figures(entry: Entry) -> list[str]:
    played = entry.played
    shares = ["" if one is None else with_interval(one) for one in (played.at_end, played.at_any_step)]
    return [*shares, with_interval(played.mean_return, ".4g"), str(played.episodes)]


def _sizes(entry: Entry) -> list[int]:
    return [one["bytes"] for one in entry.files.values()]


def write_pages(root: Path, entries: Mapping[str, Entry]) -> list[Path]:
    """
    Write the regions of all pages.

    :param root: of the repository
    :param entries: of the index
    :return: the pages that changed
    :raises PretrainedError: if a page or region is not there
    """
    changed = []
    for name in PAGES:
        page = root / name
        if not page.is_file():
            raise PretrainedError(f"There is no {page}: name the repository with --root.")
        before = page.read_text()
        after = written(before, regions(root, page.parent, list(entries.values())))
        if after != before:
            page.write_text(after)
            changed.append(page)
    return changed


def written(page: str, texts: Mapping[str, str]) -> str:
    """A page with the regions that it has, ``<!-- pretrained: NAME -->`` to ``<!-- end -->``, written anew."""
    pattern = re.compile(r"(<!-- pretrained: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise PretrainedError("A page has no region '<!-- pretrained: NAME -->' to write to.")
    return pattern.sub(lambda found: found[1] + (texts[found[2]] and f"\n{texts[found[2]]}\n\n") + found[3], page)


def regions(root: Path, folder: Path, entries: Sequence[Entry]) -> dict[str, str]:
    """Text of each region, for a page in this folder; pictures are those that are there."""
    shown = [one for one in entries if one.succeeds and (root / GALLERY / f"{one.id}.gif").is_file()]
    shown.sort(key=lambda one: _success(one), reverse=True)
    pictures = (root / GALLERY).relative_to(folder)
    return {
        "few": _grid(shown[:_FEW], pictures),
        "grid": _grid(shown, pictures),
        "table": _table(entries) if entries else _NONE,
        "trainings": _trainings(entries),
    }


def _success(entry: Entry) -> float:
    return max((one[0] for one in (entry.played.at_end, entry.played.at_any_step) if one is not None), default=0.0)


def _grid(entries: Sequence[Entry], pictures: Path) -> str:
    rows = [entries[first : first + _FEW] for first in range(0, len(entries), _FEW)]
    return "\n\n".join(_row(row, pictures) for row in rows)


def _row(entries: Sequence[Entry], pictures: Path) -> str:
    images = [f"![{one.id}]({pictures / one.id}.gif)" for one in entries]
    return markdown_table(images, [[_caption(one) for one in entries]])


def _caption(entry: Entry) -> str:
    played = entry.played
    share, when = (played.at_end, "at the last step") if _holds(entry) else (played.at_any_step, "at some step")
    words = with_interval(played.mean_return, ".4g") + " return" if share is None else f"{with_interval(share)} {when}"
    return f"`{entry.id}`: {words}"


def _holds(entry: Entry) -> bool:
    return entry.played.at_end is not None and entry.played.at_end[0] > 0


def _table(entries: Sequence[Entry]) -> str:
    rows = [[f"`{one.id}`", one.environment, *_figures(one), _report(one)] for one in entries]
    return markdown_table(["id", "task", *_FIGURES, "report"], rows)


def _report(entry: Entry) -> str:
    return f"[report]({entry.report})" if entry.report else ""


def _trainings(entries: Sequence[Entry]) -> str:
    rows = [
        [
            f"`{one.id}`",
            f"{one.algorithm}, seed {one.seed}",
            f"{one.steps:,}".replace(",", " "),
            f"{one.cpu_minutes:g}",
            one.storage,
            ", ".join(f"{size / 1000:.0f} kB" for size in _sizes(one)),
            f"`{one.command}`",
        ]
        for one in entries
    ]
    header = ["id", "trained by", "steps", "CPU minutes", "matrices", "files", "command"]
    return markdown_table(header, rows) if rows else ""
