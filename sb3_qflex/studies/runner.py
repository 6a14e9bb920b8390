"""The queue: runs of a study over a number of processes, from where an earlier runner was stopped."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.execution import Execution
from sb3_qflex.studies.progress import ProgressLine, describe, seconds_left, seconds_taken
from sb3_qflex.studies.run_folder import RunFolder

#: Seconds between two looks at the processes.
_PAUSE = 0.5


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
        self._line = ProgressLine()
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
            self._start_next()
            time.sleep(_PAUSE)
            self._collect()
            self._report()

    def _start_next(self) -> None:
        while self._waiting and len(self._active) < self._jobs:
            self._active.append(self._execute(self._waiting.pop(0), {"jobs": self._jobs, "queue": "local"}))

    def _collect(self) -> None:
        for execution in [one for one in self._active if one.over()]:
            self._active.remove(execution)
            self._conclude(execution)

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
        self._line.show(len(self._done), len(self._runs), running, self._left())

    def _left(self) -> float | None:
        active = [one.run for one in self._active]
        speeds = {run.plan.kind: speed for run in active if (speed := run.seconds_per_step())}
        for run in self._runs:
            if (record := self._done.get(run.plan.name)) is not None:
                speeds[run.plan.kind] = seconds_taken(record) / run.plan.budget
        missing = [(run.plan.kind, run.plan.budget - run.steps_done()) for run in active]
        missing += [(run.plan.kind, run.plan.budget) for run in self._waiting]
        return seconds_left(missing, speeds, self._jobs)


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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            signal.signal(one, _interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
