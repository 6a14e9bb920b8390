"""What a ``VecEnv`` needs of its workers, and how many there should be."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from sb3_qflex.vec_env.layout import Batch, BatchLayout


class Worker(Protocol):
    """
    One worker as seen from the ``VecEnv``. At most one request is under way at a time.

    Creating a worker requests ``build``, whose answer are the spaces. Its environments are ``rows`` of the batch.
    """

    rows: slice
    pending: bool

    def request(self, command: str, *args: Any) -> None:
        """Call the method of ``EnvGroup`` that the command names; a ``WorkerDiedError`` if the worker is gone."""

    def discard(self) -> None:
        """Drop the answer to a request that was interrupted, as by Ctrl-C, if there is one."""

    def reply(self) -> Any:
        """The answer to the last request, or the error raised in the worker, with the traceback there as a note."""

    def begin_close(self) -> None:
        """Ask the worker to close its environments and end, without waiting for it."""

    def stop(self, seconds: float) -> None:
        """Make sure that the worker is gone, after so many seconds for it to end by itself."""


class Backend(Protocol):
    """
    Where workers run.

    :param cores: that workers may use together
    """

    cores: int

    def start(self, env_fns: list[bytes], rows: list[slice]) -> Iterator[Worker]:
        """Start a worker for each pickled list of functions; they build their environments at the same time."""
        ...

    def share(self, workers: Sequence[Any], layout: BatchLayout) -> Batch:
        """Request that workers exchange actions and results through the arrays that are returned."""
        ...


def split(n_envs: int, n_workers: int) -> list[slice]:
    """Consecutive rows for each worker, at least one, whose numbers differ by at most one."""
    bounds = [n_envs * worker // n_workers for worker in range(n_workers + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores this process may use, at least 1: in containers those of their limits, which the machine's count is not."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota, period in _cpu_quotas(cgroup):
        if quota > 0 and period > 0:
            cores = min(cores, max(1, round(quota / period)))
    return cores


def _cpu_quotas(cgroup: Path) -> list[Sequence[int]]:
    version_2 = [cgroup / "cpu.max"]
    version_1 = [cgroup / "cpu" / "cpu.cfs_quota_us", cgroup / "cpu" / "cpu.cfs_period_us"]
    quotas = []
    for files in (version_2, version_1):
        try:
            words = " ".join(file.read_text() for file in files).split()
            quotas.append([int(word) for word in words])
        # No such file, or the word "max".
        except (OSError, ValueError):
            continue
    return [pair for pair in quotas if len(pair) == 2]
