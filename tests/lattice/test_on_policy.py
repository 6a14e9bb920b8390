"""Lattice's policies in SB3's PPO and sb3-contrib's RecurrentPPO."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from sb3_qflex import (
    LatticeMultiInputPPOPolicy,
    LatticeMultiInputRecurrentPPOPolicy,
    LatticePPOPolicy,
    LatticeRecurrentPPOPolicy,
)

POLICIES = [(PPO, LatticePPOPolicy), (RecurrentPPO, LatticeRecurrentPPOPolicy)]
DICT_POLICIES = [(PPO, LatticeMultiInputPPOPolicy), (RecurrentPPO, LatticeMultiInputRecurrentPPOPolicy)]
SETTINGS = {"lattice_alpha": 0.6, "std_clip": (1e-2, 5.0), "std_reg": 0.05, "expln_eps": 1e-5}

each = pytest.mark.parametrize(("algorithm", "policy"), POLICIES)
both = pytest.mark.parametrize("use_sde", [False, True])


def small(algorithm: Any, policy: type, env: Any, use_sde: bool, **policy_kwargs: Any) -> Any:
    kwargs = {"net_arch": [8], **({"lstm_hidden_size": 8} if algorithm is RecurrentPPO else {}), **policy_kwargs}
    return algorithm(
        policy, env, n_steps=12, batch_size=8, n_epochs=2, use_sde=use_sde, sde_sample_freq=4 if use_sde else -1,
        policy_kwargs=kwargs, seed=0, device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize(("algorithm", "policy"), [*POLICIES, *DICT_POLICIES])
@both
def test_it_trains_and_a_saved_copy_acts_the_same(algorithm: Any, policy: type, use_sde: bool, tmp_path: Path) -> None:
    env = make_vec_env(ReachEnv if "MultiInput" in policy.__name__ else BoxEnv, 2)
    model = small(algorithm, policy, env, use_sde, **SETTINGS)
    before = parameters(model)
    model.learn(48)
    after = parameters(model)
    assert not th.equal(before["log_std"], after["log_std"]) and all(th.isfinite(one).all() for one in after.values())
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", device="cpu")
    assert type(loaded.policy) is policy and loaded.policy.noise == model.policy.noise
    assert_same(after, parameters(loaded))
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))


def test_its_arguments_are_saved_with_the_policy_alone(tmp_path: Path) -> None:
    model = small(PPO, LatticePPOPolicy, BoxEnv(), True, **SETTINGS)
    model.policy.save(tmp_path / "policy")
    loaded = LatticePPOPolicy.load(tmp_path / "policy", device="cpu")
    assert loaded.noise == model.policy.noise and loaded.action_dist.std_clip == SETTINGS["std_clip"]


@each
@both
def test_rollouts_have_the_log_probabilities_of_their_evaluation(algorithm: Any, policy: type, use_sde: bool) -> None:
    model = small(algorithm, policy, make_vec_env(BoxEnv, 2), use_sde)
    model.lr_schedule = lambda _: 0.0
    model.learn(24)
    (batch,) = list(model.rollout_buffer.get(None))[:1]
    more = (batch.lstm_states, batch.episode_starts) if algorithm is RecurrentPPO else ()
    _, log_prob, entropy = model.policy.evaluate_actions(batch.observations, batch.actions, *more)
    kept = slice(None) if algorithm is PPO else batch.mask > 1e-8
    th.testing.assert_close(log_prob[kept], batch.old_log_prob[kept], atol=1e-4, rtol=1e-4)
    assert entropy is not None and th.isfinite(entropy).all()


def test_the_deviations_of_all_rows_are_one_parameter_and_factorised_once() -> None:
    model = small(PPO, LatticePPOPolicy, BoxEnv(), False, log_std_init=-1.0)
    assert model.policy.log_std.shape == (2 + 8,) and not model.policy.log_std.any()
    distribution = model.policy.get_distribution(th.zeros(5, 3)).distribution
    th.testing.assert_close(distribution.latent_std, th.full((8,), float(np.exp(-1.0))))
    assert distribution.covariance.shape == (2, 2) and type(distribution.density) is MultivariateNormal
    wide = BoxEnv(action_space=spaces.Box(-1.0, 1.0, (12,), np.float32))
    density = small(PPO, LatticePPOPolicy, wide, False).policy.get_distribution(th.zeros(5, 3)).distribution.density
    assert type(density) is LowRankMultivariateNormal


def test_noise_is_held_between_sb3s_draws() -> None:
    model = small(PPO, LatticePPOPolicy, make_vec_env(BoxEnv, 3), True)
    obs = th.zeros(3, 3)
    with th.no_grad():
        first, second = (model.policy(obs)[0] for _ in range(2))
        model.policy.reset_noise(3)
        third = model.policy(obs)[0]
    assert th.equal(first, second) and not th.equal(first, third)
    assert len(model.policy.action_dist.held.matrices) == 3 and len({tuple(one) for one in first.tolist()}) == 3
    assert not np.array_equal(model.predict(obs.numpy())[0], model.predict(obs.numpy())[0])


def test_bad_settings_and_other_action_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="std_clip must be two positive numbers"):
        small(PPO, LatticePPOPolicy, BoxEnv(), True, std_clip=(2.0, 1.0))
    with pytest.raises(ValueError, match="the action space must be a Box, not Discrete"):
        small(PPO, LatticePPOPolicy, "CartPole-v1", False)
