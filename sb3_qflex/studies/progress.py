"""How far a study is and how long it may take."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

#: Seconds between two lines where there is no terminal to write over.
_PAUSE = 60.0


def seconds_left(
    missing: Sequence[tuple[tuple[str, str], int]], speeds: Mapping[tuple[str, str], float], jobs: int
) -> float | None:
    """
    :param missing: kind of each unfinished run and the environment steps that it still needs
    :param speeds: seconds of an environment step by kind of run, as far as known
    :param jobs: runs at the same time
    :return: estimate of the time to the end; None while nothing is known
    """
    if not speeds:
        return None
    usual = sum(speeds.values()) / len(speeds)
    work = [steps * speeds.get(kind, usual) for kind, steps in missing]
    return max(sum(work) / jobs, max(work, default=0.0))


def seconds_taken(record: Mapping[str, Any]) -> float:
    """
    :param record: of a finished run
    :return: what it took, at least: of a run that went on from a checkpoint the record has the time of the last
        process, and the training time over all of them
    """
    return max(record["seconds"], record["training seconds"])


def describe(seconds: float | None) -> str:
    """
    :param seconds: a time, None if unknown
    :return: the time in hours and minutes
    """
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


class ProgressLine:
    """Writes a line over and over on a terminal, and every minute elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = -_PAUSE

    def show(self, done: int, total: int, running: Sequence[str], left: float | None) -> None:
        """
        :param done: finished runs
        :param total: all runs
        :param running: what runs at the moment
        :param left: seconds to the end, None if unknown
        """
        if not self._terminal and time.monotonic() - self._last < _PAUSE:
            return
        self._last = time.monotonic()
        text = f"{done}/{total} runs done, about {describe(left)} left; {', '.join(running)}"
        start, end = ("\r\033[K", "") if self._terminal else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """:param text: to stay on a line of its own"""
        print(f"\r\033[K{text}" if self._terminal else text, file=sys.stderr, flush=True)
