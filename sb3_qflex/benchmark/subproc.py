"""SB3's SubprocVecEnv within this machine's memory: one process per environment takes gigabytes."""

from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.vec_env import SubprocVecEnv

#: SB3's default on Linux first. With "fork" processes share what the parent has imported, and step as fast.
_START_METHODS = ("forkserver", "fork")
#: Share of the free memory that the processes may take.
_MEMORY_SHARE = 0.8
_MEMINFO = Path("/proc/meminfo")


class TooLargeError(MemoryError):
    """The processes do not fit into the free memory; the message has the sizes."""


def start_method_that_fits(make_env: Callable[[], gym.Env], n_envs: int) -> str | None:
    """
    The first start method whose processes fit into the free memory, judged by one such process.

    :param make_env: Makes an environment.
    :param n_envs: Number of environments, and of processes.
    :return: For SubprocVecEnv; None (its default) where the system does not tell its memory.
    :raises TooLargeError: If none fits.
    """
    if not _MEMINFO.is_file():
        return None
    # What is imported here is shared with forked processes.
    make_env().close()
    for method in _START_METHODS:
        need, free = n_envs * _private_kilobytes(make_env, method), _kilobytes(_MEMINFO, "MemAvailable")
        if need <= _MEMORY_SHARE * free:
            return method
    raise TooLargeError(
        f"{n_envs} processes would take {need / 2**20:.1f} GiB, and {free / 2**20:.1f} GiB are free "
        f"({_MEMORY_SHARE:.0%} of it may be taken)"
    )


def _private_kilobytes(make_env: Callable[[], gym.Env], method: str) -> int:
    """Memory that one more process takes."""
    vec_env = SubprocVecEnv([make_env], start_method=method)
    try:
        vec_env.reset()
        smaps = Path(f"/proc/{vec_env.processes[0].pid}/smaps_rollup")
        return _kilobytes(smaps, "Private_Dirty") + _kilobytes(smaps, "Private_Clean")
    finally:
        vec_env.close()


def _kilobytes(path: Path, field: str) -> int:
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return int(fields[field].split()[0])
