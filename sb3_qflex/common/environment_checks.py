"""Which environments, and which wrappers of vectorised ones, an algorithm takes."""

from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecVideoRecorder,
)
from stable_baselines3.common.vec_env.patch_gym import _patch_env

from sb3_qflex.common.validation import UnsupportedError, check_spaces

# Methods of wrappers that give what the environment below gives.
_PASSING = {
    name: [getattr(each, name) for each in (VecEnvWrapper, VecMonitor, VecCheckNan, VecVideoRecorder)]
    for name in ("reset", "step_wait")
}


def check_environment(env: Any) -> None:
    """
    :param env: What was given as an environment.
    :raises UnsupportedError: For Gymnasium's vector environments, for a wrapper above ``VecNormalize`` that may change
        what it gives, and for spaces that :func:`sb3_qflex.common.validation.check_spaces` refuses.
    """
    layers = [env]
    while isinstance(layers[-1], VecEnvWrapper):
        layers.append(layers[-1].venv)
    if isinstance(layers[-1], gym.vector.VectorEnv):
        raise UnsupportedError(
            f"{type(layers[-1]).__name__} is one of Gymnasium's vector environments, and SB3's VecEnv is needed: use "
            "stable_baselines3.common.env_util.make_vec_env(env_id, n_envs), with vec_env_cls=SubprocVecEnv for "
            "processes."
        )
    normalizations = [index for index, layer in enumerate(layers) if isinstance(layer, VecNormalize)]
    for wrapper in layers[: normalizations[0]] if normalizations else []:
        _check_above_normalization(wrapper)
    if not isinstance(env, VecEnv):
        env = _patch_env(env)
    check_spaces(env.observation_space, env.action_space)


def _check_above_normalization(wrapper: VecEnvWrapper) -> None:
    # The replay buffer takes what the VecNormalize got and normalises it when sampled, past what lies above.
    own = [name for name, passing in _PASSING.items() if getattr(type(wrapper), name) not in passing]
    if own:
        name = type(wrapper).__name__
        raise UnsupportedError(
            f"{name} lies above VecNormalize and has a {' and a '.join(own)} of its own: the model would act on other "
            f"observations or rewards than it learns from. Put VecNormalize above it, as in "
            f"VecNormalize({name}(env, ...)); in an RL Zoo entry with normalize, name {name} in vec_env_wrapper"
            f"{', in the place of frame_stack' if isinstance(wrapper, VecFrameStack) else ''}."
        )
