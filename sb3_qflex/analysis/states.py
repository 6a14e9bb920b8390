"""States to compute on: a sample of those that a model visits."""

from contextlib import closing

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from sb3_qflex.analysis.acting import explorer, predictor
from sb3_qflex.analysis.trained import Trained
from sb3_qflex.common.each_array import each_array
from sb3_qflex.qflex.policies import QFlexPolicy

#: Steps are taken for this many times the states that are kept: neighbouring states are alike.
THINNING = 4


def visited_states(policy: BasePolicy, env: VecEnv, n_states: int, seed: int) -> PyTorchObs:
    """
    A random sample of the states that the policy visits with its own exploration (stochastic actions).

    :param policy: of any model
    :param env: environments, any number of them
    :param n_states: at least 1
    :param seed: of environments, actions and the sample
    :return: observations on the policy's device, (n_states, ...) or a dict of such
    """
    if isinstance(policy, QFlexPolicy):
        act = explorer(policy, policy.explore, deterministic=False)
    else:
        act = predictor(policy, deterministic=False)
    seen: list[VecEnvObs] = []
    with th.random.fork_rng(devices=[]):
        th.manual_seed(seed)
        env.seed(seed)
        obs = env.reset()
        for _ in range(-(-THINNING * n_states // env.num_envs)):
            seen.append(obs)
            obs, *_ = env.step(act(obs))
    kept = np.random.default_rng(seed).choice(len(seen) * env.num_envs, n_states, replace=False)
    return policy.obs_to_tensor(each_array(lambda *parts: np.concatenate(parts)[kept], *seen))[0]


def states_of(trained: Trained, n_states: int, seed: int, n_envs: int) -> PyTorchObs:
    """:func:`visited_states` of a QFlex model in ``n_envs`` of its environments."""
    with closing(trained.task.make(n_envs, seed)) as env:
        return visited_states(trained.policy, env, n_states, seed)


def select(obs: PyTorchObs, kept: np.ndarray | slice) -> PyTorchObs:
    """Those of observations (B, ...) that ``kept`` indexes."""
    return each_array(lambda values: values[kept], obs)
