"""States to compute on: a sample of those that a model visits."""

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from sb3_qflex.analysis.acting import explorer
from sb3_qflex.qflex.policies import QFlexPolicy

#: Steps are taken for this many times the states that are kept: neighbouring states are alike.
THINNING = 4


def visited_states(policy: QFlexPolicy, env: VecEnv, n_states: int, seed: int) -> PyTorchObs:
    """
    A random sample of the states that the policy visits with its own exploration (stochastic actions).

    :param policy: of a QFlex model
    :param env: environments, any number of them
    :param n_states: at least 1
    :param seed: of environments, actions and the sample
    :return: observations on the policy's device, (n_states, ...) or a dict of such
    """
    act = explorer(policy, policy.explore, deterministic=False)
    seen: list[VecEnvObs] = []
    with th.random.fork_rng(devices=[]):
        th.manual_seed(seed)
        env.seed(seed)
        obs = env.reset()
        for _ in range(-(-THINNING * n_states // env.num_envs)):
            seen.append(obs)
            obs, *_ = env.step(act(obs))
    kept = np.random.default_rng(seed).choice(len(seen) * env.num_envs, n_states, replace=False)
    if isinstance(obs, dict):
        chosen: VecEnvObs = {key: np.concatenate([one[key] for one in seen])[kept] for key in obs}  # type: ignore
    else:
        chosen = np.concatenate(seen)[kept]  # type: ignore[arg-type]
    return policy.obs_to_tensor(chosen)[0]  # type: ignore[arg-type]


def select(obs: PyTorchObs, kept: np.ndarray) -> PyTorchObs:
    """
    :param obs: observations (B, ...) or a dict of such
    :param kept: indices, (S,)
    :return: those, (S, ...)
    """
    index = th.as_tensor(kept)
    if isinstance(obs, dict):
        return {key: value[index.to(value.device)] for key, value in obs.items()}
    return obs[index.to(obs.device)]


def repeat(obs: PyTorchObs, times: int) -> PyTorchObs:
    """
    :param obs: observations (B, ...) or a dict of such
    :param times: at least 1
    :return: each of them ``times`` times in a row, (B * times, ...)
    """
    if isinstance(obs, dict):
        return {key: value.repeat_interleave(times, dim=0) for key, value in obs.items()}
    return obs.repeat_interleave(times, dim=0)
