"""MyoSuite's environments for the loop rows, within this machine's memory: a process of each takes gigabytes.

Worker processes import this: nothing heavy at module level.
"""

import multiprocessing as mp
from collections.abc import Callable
from importlib.util import find_spec

import gymnasium as gym
import psutil

#: Share of the free memory that the processes may take.
_MEMORY_SHARE = 0.8
_PRELOADED = ["stable_baselines3.common.vec_env.subproc_vec_env", "stable_baselines3.common.monitor", "myosuite"]


def missing_myosuite() -> str | None:
    """Why MyoSuite's environments cannot be made; None if they can."""
    return None if find_spec("myosuite") else "MyoSuite is not installed: pip install 'sb3-qflex[myosuite]'"


def make_myosuite(env_id: str) -> gym.Env:
    """
    One environment with SB3's Monitor, as RL Zoo and ``make_vec_env`` make it, in a third of its memory, so that
    hundreds of them fit beside each other.

    :param env_id: MyoSuite's id.
    """
    import myosuite  # noqa: F401  # registers its environments
    from stable_baselines3.common.monitor import Monitor

    from sb3_qflex.envs.myo import WithoutModelSource

    return Monitor(WithoutModelSource(gym.make(env_id)))


def share_imports() -> None:
    """
    Let processes that a "forkserver" starts later share what they would import each for itself, which takes most of
    their memory and of their start. They step as fast as without it. ("fork" would share as much, but is not
    safe in a parent with threads, such as torch's.)
    """
    mp.set_forkserver_preload(_PRELOADED)


def too_large(make_env: Callable[[], gym.Env], n_envs: int) -> str | None:
    """
    Why a process for each environment does not fit into the free memory, judged by one such process.

    :param make_env: Makes an environment.
    :param n_envs: Number of environments, and of processes.
    :return: The reason; None if they fit.
    """
    from sb3_qflex.common.memory import available_memory

    need, free = n_envs * _private_bytes(make_env), available_memory()
    if need <= _MEMORY_SHARE * free:
        return None
    return (
        f"{n_envs} processes would take {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free "
        f"({_MEMORY_SHARE:.0%} of it may be taken)"
    )


def _private_bytes(make_env: Callable[[], gym.Env]) -> int:
    """Memory that one more process takes."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    vec_env = SubprocVecEnv([make_env])
    try:
        vec_env.reset()
        return psutil.Process(vec_env.processes[0].pid).memory_full_info().uss
    finally:
        vec_env.close()
