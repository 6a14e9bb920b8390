"""What SAC has of the common base, and that each loss trains its own network."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from sb3_qflex import TrainingCheckpoint
from sb3_qflex.sac.objectives import actor_objective, bellman_target, critic_objective
from sb3_qflex.sac.policies import SACPolicy
from sb3_qflex.sac.sac import SAC

NON_DEFAULT: dict[str, Any] = {"tau": 0.1, "target_update_interval": 3, "ent_coef": "auto_0.5", "target_entropy": -0.3}


def small(env: Any = "Pendulum-v1", policy: str = "MlpPolicy", **options: Any) -> SAC:
    policy_kwargs = {"net_arch": [16], **options.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu", **options}
    return SAC(policy, env, policy_kwargs=policy_kwargs, **arguments)


def test_a_saved_copy_acts_the_same_and_goes_on(tmp_path: Path) -> None:
    model = small(BoxEnv(), policy_kwargs={"n_critics": 3}, **NON_DEFAULT).learn(60)
    model.save(tmp_path / "model")
    loaded = SAC.load(tmp_path / "model", BoxEnv(), device="cpu", gamma=0.5)
    assert {name: getattr(loaded, name) for name in NON_DEFAULT} == NON_DEFAULT
    assert (loaded.gamma, loaded.policy.n_critics) == (0.5, 3)
    assert_same(parameters(model), parameters(loaded))
    assert_equal(model.get_parameters(), loaded.get_parameters())
    assert th.equal(model.log_ent_coef, loaded.log_ent_coef)
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(30)._n_updates > model._n_updates


def test_a_resumed_training_equals_one_that_was_not_broken_off(tmp_path: Path) -> None:
    def env() -> Any:
        return make_vec_env("Pendulum-v1", 2)

    whole = small(env(), **NON_DEFAULT).learn(124)
    with pytest.raises(ConnectionAbortedError):
        small(env(), **NON_DEFAULT).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = SAC.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 104
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))


def test_each_loss_reaches_its_own_network_alone() -> None:
    model = small(BoxEnv()).learn(40)
    batch, alpha = model.replay_buffer.sample(8), th.tensor(0.3)
    target = bellman_target(model.actor, model.critic_target, batch, 0.9, alpha)
    assert not target.requires_grad
    assert set(reached(model, critic_objective(model.critic, batch, target))) == {"critic"}
    actions, log_prob = model.actor.action_log_prob(batch.observations)
    before = parameters(model)
    model.minimise(
        model.actor.optimizer, actor_objective(model.critic, batch.observations, actions, log_prob, alpha), "actor"
    )
    changed = {name.partition(".")[0] for name, value in parameters(model).items() if not th.equal(value, before[name])}
    assert changed == {"actor"}


def reached(model: SAC, loss: th.Tensor) -> list[str]:
    """Networks with a gradient of the loss."""
    names, values = zip(*model.policy.named_parameters(), strict=True)
    gradients = th.autograd.grad(loss, values, allow_unused=True)
    return [name.partition(".")[0] for name, one in zip(names, gradients, strict=True) if one is not None]


def test_a_bonus_is_what_joins_q_in_target_and_actor_loss() -> None:
    model = small(BoxEnv()).learn(40)
    batch = model.replay_buffer.sample(8)
    actions, log_prob = model.actor.action_log_prob(batch.observations)
    targets, losses = [], []
    for bonus in (None, lambda observations, actions: 2.0 + 0.0 * actions.sum(dim=1)):
        th.manual_seed(0)
        targets.append(bellman_target(model.actor, model.critic_target, batch, 0.5, None, bonus))
        losses.append(actor_objective(model.critic, batch.observations, actions, log_prob, None, bonus))
    th.testing.assert_close(targets[1] - targets[0], 0.5 * 2.0 * (1.0 - batch.dones.flatten()))
    th.testing.assert_close(losses[1] - losses[0], th.tensor(-2.0))


def test_target_critics_move_by_tau_every_interval_and_are_never_in_train_mode() -> None:
    model = small(BoxEnv(), tau=0.25, target_update_interval=2, policy_kwargs={"net_arch": []}).learn(40)
    model.policy.set_training_mode(True)
    assert model.critic.training and not any(module.training for module in model.critic_target.modules())
    assert (model._n_updates - 1) % 2 == 1
    for moves in (True, False):
        before = dict(parameters(model))
        model.train(1, batch_size=8)
        after = dict(parameters(model))
        name = "qf0.0.weight"
        expected = before[f"critic_target.{name}"]
        if moves:
            expected = 0.75 * expected + 0.25 * after[f"critic.{name}"]
        th.testing.assert_close(after[f"critic_target.{name}"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 1.5}, r"tau must be a number in \[0, 1\], not 1.5"),
        ({"target_update_interval": 0}, "target_update_interval must be an integer of at least 1, not 0"),
        ({"ent_coef": "automatic"}, "ent_coef must be a number >= 0, 'auto' or 'auto_x'"),
        ({"target_entropy": "low"}, "target_entropy must be a number"),
        ({"policy_kwargs": {"n_critics": 0}}, "n_critics must be an integer of at least 1, not 0"),
        ({"policy_kwargs": {"net_arch": {"vf": [8]}}}, "Unknown network in net_arch 'vf'.* Known are pi, qf"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_unknown_options_and_gsde_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="SAC has no option 'target_interval', did you mean 'target_update_interval'"):
        small(target_interval=1)
    with pytest.raises(TypeError, match="gSDE is not supported"):
        small(use_sde=True)
    model = small()
    with pytest.raises(ValueError, match="tau must be a number"):
        model.tau = -0.1
    assert model.tau == 0.005


def test_diverged_critics_stop_training() -> None:
    model = small(BoxEnv(), gamma=0.9).learn(30)
    with th.no_grad():
        for parameter in model.critic.parameters():
            parameter.mul_(1e3)
    with pytest.raises(ValueError, match="Q has diverged"):
        model.train(gradient_steps=2, batch_size=8)


@pytest.mark.parametrize(
    ("env", "policy_kwargs"),
    [
        (lambda: BoxEnv(action_space=gym.spaces.Box(-2.0, 0.5, (2,), np.float32)), {}),
        (ReachEnv, {"net_arch": [], "activation_fn": nn.ELU}),
    ],
    ids=["box", "dict"],
)
def test_its_policy_is_exported(tmp_path: Path, env: Any, policy_kwargs: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    policy = "MultiInputPolicy" if env is ReachEnv else "MlpPolicy"
    model = small(env(), policy, policy_kwargs=policy_kwargs).learn(60)
    obs = observations(model, 6)
    inputs = obs if isinstance(obs, dict) else {"obs": obs}
    expected = model.predict(obs, deterministic=True)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=1e-5)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(*map(th.as_tensor, inputs.values())).numpy(), expected, atol=1e-5)
    loaded = SACPolicy.load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)


def test_an_exported_sample_takes_its_noise_as_an_input(tmp_path: Path) -> None:
    model = small(BoxEnv()).learn(60)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy", noise=True)))
    obs = observations(model, 6)
    th.manual_seed(0)
    noise = th.randn(6, 2)
    th.manual_seed(0)
    np.testing.assert_allclose(script(th.as_tensor(obs), noise).numpy(), model.predict(obs)[0], atol=1e-5)
