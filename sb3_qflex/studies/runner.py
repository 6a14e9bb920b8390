"""The queue: runs of a study over a number of processes, from where an earlier runner was stopped."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sb3_qflex.common.persistence import lock
from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.execution import Execution
from sb3_qflex.studies.run_folder import RunFolder

#: Seconds between two looks at the processes, and between two lines where there is no terminal to write over.
_PAUSE, _LINE_PAUSE = 0.5, 60.0


class Runner:
    """
    Runs what is missing of a study.

    :param runs: all runs, in the order in which they shall be made
    :param jobs: processes at the same time, one core each
    :param execute: what starts a run
    """

    def __init__(self, runs: Sequence[RunFolder], jobs: int, execute: type[Execution] = Execution):
        self._runs = runs
        self._execute = execute
        self._jobs = jobs
        records = {run.plan.name: run.done() for run in runs}
        self._done = {name: record for name, record in records.items() if record is not None}
        self._waiting = [run for run in runs if run.plan.name not in self._done]
        self._active: list[Execution] = []
        self._line = _ProgressLine()
        #: What went wrong, by run.
        self.failures: dict[str, str] = {}

    def run(self) -> None:
        """Make all runs; one that fails does not stop the others. All processes end with this one."""
        self._line.note(f"{len(self._runs)} runs, {len(self._done)} of them done before; {self._jobs} at a time")
        with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
            try:
                self._work()
            finally:
                for execution in self._active:
                    execution.stop()

    def _work(self) -> None:
        while self._waiting or self._active:
            while self._waiting and len(self._active) < self._jobs:
                self._active.append(self._execute(self._waiting.pop(0), {"jobs": self._jobs, "queue": "local"}))
            time.sleep(_PAUSE)
            for execution in [one for one in self._active if one.over()]:
                self._active.remove(execution)
                self._conclude(execution)
            self._report()

    def _conclude(self, execution: Execution) -> None:
        name, trouble = execution.run.plan.name, execution.conclude()
        record = None if trouble else execution.run.done()
        if record is None:
            self.failures[name] = trouble
            self._line.note(f"{name} failed: {trouble}")
        else:
            self._done[name] = record
            self._line.note(f"{name} done in {describe(seconds_taken(record))}")

    def _report(self) -> None:
        running = [f"{one.run.plan.name} {one.run.steps_done() / one.run.plan.budget:.0%}" for one in self._active]
        left = describe(self._left())
        self._line.show(f"{len(self._done)}/{len(self._runs)} runs done, about {left} left; {', '.join(running)}")

    def _left(self) -> float | None:
        active = [one.run for one in self._active]
        speeds = {run.plan.kind: speed for run in active if (speed := run.seconds_per_step())}
        for run in self._runs:
            if (record := self._done.get(run.plan.name)) is not None:
                speeds[run.plan.kind] = seconds_taken(record) / run.plan.budget
        missing = [(run.plan.kind, run.plan.budget - run.steps_done()) for run in active]
        missing += [(run.plan.kind, run.plan.budget) for run in self._waiting]
        return seconds_left(missing, speeds, self._jobs)


class _ProgressLine:
    """Writes a line over and over on a terminal, and every minute elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = -_LINE_PAUSE

    def show(self, text: str) -> None:
        if self._terminal or time.monotonic() - self._last >= _LINE_PAUSE:
            self._last = time.monotonic()
            self.note(text, end="" if self._terminal else "\n")

    def note(self, text: str, end: str = "\n") -> None:
        """Write what stays on a line of its own."""
        print(f"\r\033[K{text}" if self._terminal else text, end=end, file=sys.stderr, flush=True)


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
    """A time in hours and minutes, "?" if it is unknown."""
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Hold a folder's lock, which the kernel releases however the process ends: one runner at a time.

    :param folder: made if needed
    :raises StudyError: if another process holds it
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            lock(file.fileno())
        except BlockingIOError as error:
            file.seek(0)
            raise StudyError(f"another runner, process {file.read().strip()}, works in {folder}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Let signals act like Ctrl-C, but for those that are ignored (``nohup``)."""
    before = {one: signal.getsignal(one) for one in signals}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
