"""How a simulation that has diverged is recognised, before a NaN of it reaches anybody."""

import time
from math import isfinite
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import NDArray

_FIRST, _LAST = int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC)


def is_finite(values: NDArray[np.floating]) -> bool:
    """
    One BLAS call in place of ``isfinite().all()``.

    :param values: (n,) of any floating type
    :return: Whether all are finite; float32 values beyond 1e19, whose square overflows, count as not finite. MuJoCo
        itself calls a simulation unstable from 1e10 on
    """
    return isfinite(float(values.dot(values)))


def bad_states(data: mujoco.MjData) -> NDArray[np.int32]:
    """
    MuJoCo resets a simulation whose positions, velocities or accelerations went bad by itself, to a finite state;
    its warning counters, which the next reset clears, are all it leaves behind.

    :param data: The simulation
    :return: (3,) view of the counters; any above 0 means that it went bad since its last reset
    """
    return data.warning.number[_FIRST : _LAST + 1]


def end_monitored_episode(env: gym.Env) -> dict[str, Any]:
    """
    Make the end of a diverged episode known to a ``Monitor`` beneath the wrapper that ends it, where RL Zoo's
    ``env_wrapper`` puts wrappers. The Monitor would miss it, and an evaluation would then count a success flag without
    a return.

    :param env: The environment that the wrapper wraps, after the step
    :return: ``{"episode": ...}`` for the step's info, without the step's reward; empty if there is no Monitor
    """
    # Environments can be used without loading SB3, and with it torch.
    from stable_baselines3.common.monitor import Monitor

    while isinstance(env, gym.Wrapper):
        if isinstance(env, Monitor):
            returns, seconds = sum(env.rewards[:-1]), time.time() - env.t_start
            episode = {"r": round(returns, 6), "l": len(env.rewards), "t": round(seconds, 6), **env.current_reset_info}
            # Where the task itself ended the episode, the Monitor has it already.
            if not env.needs_reset:
                env.needs_reset = True
                env.episode_returns.append(returns)
                env.episode_lengths.append(len(env.rewards))
                env.episode_times.append(seconds)
                if env.results_writer is not None:
                    env.results_writer.write_row(episode)
            return {"episode": episode}
        env = env.env
    return {}
