"""Environments stepped by a few worker processes, or by Ray actors, behind SB3's ``VecEnv`` interface, and
a guard against bad numbers of any environment.

Names are loaded on first use: a worker process imports this package too, and SB3's ``VecEnv``
would bring torch into it.
"""

from typing import TYPE_CHECKING

from sb3_qflex.common.lazy import lazy_names

if TYPE_CHECKING:
    from sb3_qflex.common.bad_states import BadStateError, BadStateGuard
    from sb3_qflex.vec_env.errors import WorkerDiedError, WorkerError
    from sb3_qflex.vec_env.worker_vec_env import WorkerVecEnv

__all__ = ["BadStateError", "BadStateGuard", "WorkerDiedError", "WorkerError", "WorkerVecEnv"]

_HOME = {
    "BadStateError": "sb3_qflex.common.bad_states",
    "BadStateGuard": "sb3_qflex.common.bad_states",
    "WorkerVecEnv": "sb3_qflex.vec_env.worker_vec_env",
    "WorkerDiedError": "sb3_qflex.vec_env.errors",
    "WorkerError": "sb3_qflex.vec_env.errors",
}

__getattr__, __dir__ = lazy_names(__name__, _HOME, __all__)
