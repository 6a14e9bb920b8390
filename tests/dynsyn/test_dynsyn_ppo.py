"""DynSyn on SB3's PPO: its density, its weights, saving."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch as th
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters

from sb3_qflex import DynSynPPO

BOX = gym.spaces.Box(0.0, 1.0, (5,), np.float32)
GROUPS = [[3, 0], [1], [2, 4]]


def small(
    cls: type = DynSynPPO, policy: str = "MlpPolicy", env: Any = None, groups: Any = GROUPS, **options: Any
) -> Any:
    policy_kwargs: dict[str, Any] = {"net_arch": [16], **options.pop("policy_kwargs", {})}
    if groups is not None:
        policy_kwargs["groups"] = groups
    arguments = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "seed": 0, "device": "cpu", **options}
    return cls(policy, env or BoxEnv(action_space=BOX), policy_kwargs=policy_kwargs, **arguments)


def test_with_a_group_for_each_muscle_it_is_sb3s() -> None:
    ours, reference = (small(cls, groups=None).learn(96) for cls in (DynSynPPO, stable_baselines3.PPO))
    mine = parameters(ours)
    mine.pop("synergies.amplitude")
    assert_same(mine, parameters(reference))
    obs = observations(ours, 6)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (ours, reference)))


def test_muscles_get_their_groups_actions_times_weights_within_the_box() -> None:
    model = small(weight_amp=0.1)
    latent = np.array([[0.5, -0.2, 0.98, 10.0, 10.0]], np.float32)
    # Weights belong to the muscles 0 and 4; e is 1 for both.
    expected = [[0.55, 0.0, 0.98, 0.5, 1.0]]
    np.testing.assert_allclose(model.policy.unscale_action(latent), expected, atol=1e-6)
    model.weight_amp = 0.0
    np.testing.assert_allclose(model.policy.unscale_action(latent), [[0.5, 0.0, 0.98, 0.5, 0.98]], atol=1e-6)


def test_the_density_is_that_of_what_acts() -> None:
    model = small(weight_amp=0.0)
    obs, latent = th.zeros(1, 3), th.tensor([[0.1, 0.2, 0.3, 0.4, 0.5]])
    mean = model.policy.get_distribution(obs).distribution.mean
    normal = th.distributions.Normal
    of_groups = normal(mean[:, :3], model.policy.log_std[:3].exp()).log_prob(latent[:, :3]).sum(1)
    th.testing.assert_close(model.policy.evaluate_actions(obs, latent)[1], of_groups)
    model.weight_amp = 0.05
    of_weights = normal(mean[:, 3:], np.exp(0.5)).log_prob(latent[:, 3:]).sum(1)
    th.testing.assert_close(model.policy.evaluate_actions(obs, latent)[1], of_groups + of_weights)


def test_what_reaches_the_environment_is_what_predict_gives() -> None:
    env = BoxEnv(action_space=BOX)
    model = small(env=env, weight_amp=0.1).learn(32)
    executed = np.stack(env.executed)
    assert executed.shape == (32, 5) and (executed >= 0.0).all() and (executed <= 1.0).all()
    inside = (executed > 0.0).all(axis=1) & (executed < 1.0).all(axis=1)
    ratio = executed[inside][:, 0] / executed[inside][:, 3]
    assert 1e-3 < np.abs(ratio - 1.0).max() <= 0.1 + 1e-5
    stored = model.rollout_buffer.actions  # flat, of one environment
    np.testing.assert_allclose(model.policy.unscale_action(stored), executed, atol=1e-6)


@pytest.mark.parametrize("weight_amp", [None, 0.1])
def test_weights_are_trained_where_they_act(weight_amp: float | None) -> None:
    model = small(weight_amp=weight_amp)
    start = parameters(model)
    end = parameters(model.learn(64))
    rows = ~th.isclose(start["action_net.weight"], end["action_net.weight"]).all(dim=1)
    assert rows.tolist() == [True] * 3 + [weight_amp is not None] * 2
    # Their deviation is fixed.
    assert th.equal(start["log_std"][3:], end["log_std"][3:])


def test_a_saved_copy_acts_the_same_and_goes_on(tmp_path: Path) -> None:
    model = small(weight_k=1e-3, weight_a0=10, policy_kwargs={"weight_log_std": 0.1}).learn(96)
    # Set before the last rollout, after 64 steps.
    assert model.synergies.amplitude.item() == pytest.approx(0.054)
    model.save(tmp_path / "model")
    loaded = DynSynPPO.load(tmp_path / "model", BoxEnv(action_space=BOX), device="cpu")
    assert (loaded.weight_k, loaded.weight_a0, loaded.weight_amp) == (1e-3, 10, None)
    assert (loaded.policy.groups, loaded.policy.weight_log_std) == (GROUPS, 0.1)
    obs = observations(model, 6)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(32, reset_num_timesteps=False).synergies.amplitude > model.synergies.amplitude
    assert loaded.learn(32).synergies.amplitude > model.synergies.amplitude
    model.policy.save(tmp_path / "policy")
    alone = type(model.policy).load(tmp_path / "policy", device="cpu")
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, alone)))


def test_dict_observations() -> None:
    model = small(policy="MultiInputPolicy", env=ReachEnv(), groups=[[0, 1]]).learn(32)
    assert model.predict(observations(model, 2), deterministic=True)[0].shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": [[0]]}, ValueError, "each of the 5 actuators, 0 to 4, exactly once; missing"),
        ({"weight_amp": 0.2}, ValueError, "weight_amp must be a number"),
        ({"weight_k": -1}, ValueError, "weight_k must be a number"),
        ({"weight_ampl": 0.1}, TypeError, "DynSynPPO has no option 'weight_ampl', did you mean 'weight_amp'"),
        ({"use_sde": True}, TypeError, "gSDE is not supported"),
        ({"policy_kwargs": {"weight_log_std": 5}}, ValueError, "weight_log_std must be a number"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        small(**{**options, "policy_kwargs": dict(options.get("policy_kwargs", {}))})
