"""What ``WorkerVecEnv`` accepts."""

import multiprocessing as mp
import os
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym

from sb3_qflex.vec_env.infos import SUCCESS

BACKENDS = ("process", "ray")
EnvFn = Callable[[], gym.Env]


def info_keys(infos: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the scalars sent where whole infos are not; a ``ValueError`` for ``infos`` that there are not."""
    if infos in ("auto", "essential", "all"):
        return (SUCCESS,)
    if isinstance(infos, str) or not all(isinstance(key, str) for key in infos):
        raise ValueError(
            f"infos: expected 'essential', 'all' or a sequence of names such as ['act_mag'], or 'auto', got {infos!r}"
        )
    return (SUCCESS, *dict.fromkeys(key for key in infos if key != SUCCESS))


def check_env_fns(env_fns: list[EnvFn]) -> None:
    """Refuse what is no list of functions, one at least."""
    if not env_fns:
        raise ValueError("env_fns: expected at least one function returning an environment, got an empty list")
    for env_fn in env_fns:
        if not callable(env_fn):
            raise TypeError(f"env_fns: expected functions that return environments, got {env_fn!r}")


def check_workers(
    n_workers: int | None, start_method: str | None, backend: str, ray_options: dict[str, Any] | None
) -> None:
    """Refuse, by a ``ValueError``, what is out of range or does not go with the backend."""
    if n_workers is not None and (isinstance(n_workers, bool) or not isinstance(n_workers, int) or n_workers < 1):
        raise ValueError(f"n_workers: expected a whole number of at least 1 or None, got {n_workers!r}")
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {BACKENDS}, got {backend!r}")
    if backend == "process" and os.name != "posix":
        raise ValueError("WorkerVecEnv needs Linux or macOS; use SB3's SubprocVecEnv here, or backend='ray'")
    if start_method is not None and backend != "process":
        raise ValueError(f"start_method is for backend='process', got {start_method!r} with backend={backend!r}")
    if start_method not in (None, *mp.get_all_start_methods()):
        raise ValueError(f"start_method: expected one of {mp.get_all_start_methods()}, got {start_method!r}")
    if ray_options and backend != "ray":
        raise ValueError(f"ray_options are for backend='ray', got {ray_options!r} with backend={backend!r}")
