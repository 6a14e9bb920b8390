"""Ways to act with a trained model: `predict` as it is, or another path from the source action to the executed one."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch as th
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from sb3_qflex.analysis.trained import ModelError
from sb3_qflex.qflex.flow import integrate
from sb3_qflex.qflex.policies import QFlexPolicy

# Observations of a VecEnv -> actions of its action space, one for each environment.
Act = Callable[[VecEnvObs], np.ndarray]
# Observations and a(0) -> actions (B, |A|), not clamped.
Explore = Callable[[PyTorchObs, th.Tensor], th.Tensor]


def predictor(model: BaseAlgorithm | BasePolicy, deterministic: bool) -> Act:
    """
    Acts as ``predict`` of any model or policy does.

    :raises ModelError: for recurrent policies, which would have to remember
    """
    policy = model if isinstance(model, BasePolicy) else model.policy
    if isinstance(policy, RecurrentActorCriticPolicy):
        raise ModelError(f"{type(policy).__name__} is recurrent; analyses act without memory and cannot look at it.")
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
    """The learned flow with ``n_steps`` as K, or only the first ``until`` of them; 0 is the source action."""
    return lambda obs, source_actions: integrate(policy.velocity(obs), source_actions, n_steps, until)


def q_of(policy: QFlexPolicy, obs: PyTorchObs, cases: Mapping[str, Explore]) -> pd.DataFrame:
    """
    Min Q of the clamped actions of each case, from the same source samples; the random state is left as it was.

    :param policy: of a QFlex model
    :param obs: states, (S, ...)
    :param cases: ways to explore by name
    :return: by case: mean min Q, its gain over the source action, the share of states with a gain, and the distance
    """
    rows = []
    with th.no_grad(), th.random.fork_rng(devices=[]):
        source_actions = policy.source(obs)
        q_source = policy.min_q(obs, source_actions)
        for name, explore in cases.items():
            actions = explore(obs, source_actions).clamp(-1.0, 1.0)
            q = policy.min_q(obs, actions)
            rows.append(
                {
                    "case": name,
                    "mean min Q": float(q.mean()),
                    "gain of min Q": float((q - q_source).mean()),
                    "share with a gain": float((q > q_source).double().mean()),
                    "mean distance from a(0)": float((actions - source_actions).norm(dim=1).mean()),
                }
            )
    return pd.DataFrame(rows)
