"""Training with the fast path learns what training with the readable definitions learns."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_qflex import QFlex
from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.workloads import filled_buffer, plain_path, qflex

PROBLEM = Problem(23, 12, (64, 64))


def updated(plain: bool, n_updates: int, **kwargs) -> QFlex:
    """A model after updates on the same batches, with the same noise."""
    model = qflex(PROBLEM, filled_buffer(PROBLEM, 1000), **kwargs)
    with plain_path(model.policy) if plain else nullcontext():
        model.set_random_seed(1)
        model.train(n_updates, 64)
    return model


@pytest.mark.parametrize("kwargs", [{}, {"ent_coef": "auto"}, {"preconditioner": "rms", "bootstrap": "flow"}], ids=str)
def test_twenty_updates_agree_with_the_readable_definitions(kwargs: dict) -> None:
    fast, plain = (updated(plain, 20, **kwargs) for plain in (False, True))
    other = updated(False, 19, **kwargs)
    assert fast._n_updates == plain._n_updates
    for name, parameter in fast.policy.named_parameters():
        th.testing.assert_close(parameter, plain.policy.get_parameter(name), atol=1e-4, rtol=0.0)
    # The tolerance is one that another update would exceed.
    weights = [model.policy.get_parameter("field.net.1.weight") for model in (fast, other)]
    assert (weights[0] - weights[1]).abs().max() > 1e-4


def learned_return(plain: bool, seed: int) -> float:
    """Mean return of 100 episodes, 0 by chance and at most 50, after 600 updates on a chain of 30 links."""
    env = PlanarChainVecEnv(20, n_links=30)
    options = {"policy_kwargs": {"net_arch": [64, 64]}, "gamma": 0.0, "learning_rate": 1e-3}
    model = QFlex("MlpPolicy", env, learning_starts=1000, seed=seed, device="cpu", **options)
    with plain_path(model.policy) if plain else nullcontext():
        model.learn(13_000)
    test_env = PlanarChainVecEnv(100, n_links=30)
    test_env.seed(1000)
    return float(evaluate_policy(model, test_env, n_eval_episodes=100)[0])


@pytest.mark.slow
def test_returns_of_five_seeds_show_no_difference() -> None:
    fast, plain = (np.array([learned_return(plain, seed) for seed in range(5)]) for plain in (False, True))
    print(f"fast {np.round(fast, 2)}, plain {np.round(plain, 2)}")
    assert min(fast.mean(), plain.mean()) > 25
    # The rounding of 600 updates makes other runs of the same seeds; their means differ by less than the seeds do.
    assert abs(fast.mean() - plain.mean()) < max(fast.std(ddof=1), plain.std(ddof=1))
