"""Ways to act with a trained model: `predict` as it is, or another path from the source action to the executed one."""

from collections.abc import Callable

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from sb3_qflex.qflex.flow import integrate
from sb3_qflex.qflex.policies import QFlexPolicy

# Observations of a VecEnv -> actions of its action space, one for each environment.
Act = Callable[[VecEnvObs], np.ndarray]
# Observations and a(0) -> actions (B, |A|), not clamped.
Explore = Callable[[PyTorchObs, th.Tensor], th.Tensor]


def predictor(model: BaseAlgorithm, deterministic: bool) -> Act:
    """
    :param model: any model of SB3
    :param deterministic: as in its ``predict``
    """
    return lambda obs: model.predict(obs, deterministic=deterministic)[0]  # type: ignore[arg-type]


def explorer(policy: QFlexPolicy, explore: Explore, deterministic: bool) -> Act:
    """
    Acts as ``predict`` does, with ``explore`` in place of the policy's own exploration.

    :param policy: of a QFlex model, not changed
    :param explore: what makes an action of a source action
    :param deterministic: whether the source action is tanh(mean) instead of a sample
    """

    def act(obs: VecEnvObs) -> np.ndarray:
        obs_tensor, _ = policy.obs_to_tensor(obs)  # type: ignore[arg-type]
        with th.no_grad():
            actions = explore(obs_tensor, policy.source(obs_tensor, deterministic)).clamp(-1.0, 1.0)
        return policy.unscale_action(actions.cpu().numpy().reshape(-1, *policy.action_space.shape))

    return act


def flow(policy: QFlexPolicy, n_steps: int, until: int | None = None) -> Explore:
    """
    The learned flow with another K, or only its beginning.

    :param policy: of a QFlex model
    :param n_steps: K, at least 1
    :param until: steps taken of the K, all by default; 0 is the source action
    """
    return lambda obs, source_actions: integrate(policy.velocity(obs), source_actions, n_steps, until)


def source(obs: PyTorchObs, source_actions: th.Tensor) -> th.Tensor:
    """
    :param obs: not used
    :param source_actions: a(0)
    :return: a(0) itself
    """
    return source_actions


def ascent(policy: QFlexPolicy) -> Explore:
    """
    Direct gradient ascent: the model's N guidance steps on its critics.

    :param policy: of a QFlex model
    """
    return lambda obs, source_actions: policy.ascend(obs, source_actions).target_actions
