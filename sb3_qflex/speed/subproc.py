"""SB3's SubprocVecEnv within this machine's memory: one process per environment takes gigabytes."""

import multiprocessing as mp
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.vec_env import SubprocVecEnv

#: Share of the free memory that the processes may take.
_MEMORY_SHARE = 0.8
_MEMINFO = Path("/proc/meminfo")
_PRELOADED = ("stable_baselines3.common.vec_env.subproc_vec_env", "stable_baselines3.common.monitor", "myosuite")


def share_imports() -> None:
    """
    Let processes that a "forkserver" starts later share what they would import each for itself, which takes most of
    their memory and of their start. They step as fast as without it. ("fork" would share as much, but is not
    safe in a parent with threads, such as torch's.)
    """
    mp.set_forkserver_preload(list(_PRELOADED))


def too_large(make_env: Callable[[], gym.Env], n_envs: int) -> str | None:
    """
    Why a process for each environment does not fit into the free memory, judged by one such process.

    :param make_env: Makes an environment.
    :param n_envs: Number of environments, and of processes.
    :return: The reason; None if they fit, or where the system does not tell its memory.
    """
    if not _MEMINFO.is_file():
        return None
    need, free = n_envs * _private_kilobytes(make_env), _kilobytes(_MEMINFO, "MemAvailable")
    if need <= _MEMORY_SHARE * free:
        return None
    return (
        f"{n_envs} processes would take {need / 2**20:.1f} GiB, and {free / 2**20:.1f} GiB are free "
        f"({_MEMORY_SHARE:.0%} of it may be taken)"
    )


def _private_kilobytes(make_env: Callable[[], gym.Env]) -> int:
    """Memory that one more process takes."""
    vec_env = SubprocVecEnv([make_env])
    try:
        vec_env.reset()
        smaps = Path(f"/proc/{vec_env.processes[0].pid}/smaps_rollup")
        return _kilobytes(smaps, "Private_Dirty") + _kilobytes(smaps, "Private_Clean")
    finally:
        vec_env.close()


def _kilobytes(path: Path, field: str) -> int:
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return int(fields[field].split()[0])
