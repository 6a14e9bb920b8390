"""Environments stepped by a few worker processes, or by Ray actors, behind SB3's ``VecEnv`` interface, and
a guard against bad numbers of any environment.

Names are loaded on first use: a worker process imports this package too, and SB3's ``VecEnv``
would bring torch into it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_qflex.vec_env.bad_states import BadStateError, BadStateGuard
    from sb3_qflex.vec_env.errors import WorkerDiedError, WorkerError
    from sb3_qflex.vec_env.worker_vec_env import WorkerVecEnv

__all__ = ["BadStateError", "BadStateGuard", "WorkerDiedError", "WorkerError", "WorkerVecEnv"]

_HOME = {
    "BadStateError": "bad_states",
    "BadStateGuard": "bad_states",
    "WorkerVecEnv": "worker_vec_env",
    "WorkerDiedError": "errors",
    "WorkerError": "errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
