"""What SDAC and DPMD have of the common base, and that each loss trains its own network."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_diffusion import small_diffusion
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

from sb3_qflex import TrainingCheckpoint
from sb3_qflex.common.diffusion_objectives import critic_objective
from sb3_qflex.dpmd.dpmd import DPMD
from sb3_qflex.sdac.objectives import denoising_objective, reverse_goal
from sb3_qflex.sdac.policies import SDACPolicy
from sb3_qflex.sdac.sdac import SDAC

METHODS = pytest.mark.parametrize("cls", [SDAC, DPMD])
NON_DEFAULT: dict[str, Any] = {
    "n_particles": 3,
    "diffusion_steps": 4,
    "beta_schedule": "vp",
    "beta_scale": 0.5,
    "noise_scale": 0.2,
    "clip_actions": False,
    "init_alpha": 2.0,
    "preset": "qflex",
    "alpha_delay": 3,
    "target_entropy_scale": 0.5,
    "reverse_samples": 5,
    "policy_delay": 3,
    "reward_scale": 0.7,
    "policy_lr_end": 1e-5,
    "policy_lr_begin": 2,
    "policy_lr_steps": 10,
    "tau": 0.1,
}


@METHODS
def test_a_saved_copy_acts_the_same_and_goes_on(cls: type[SDAC], tmp_path: Path) -> None:
    model = small_diffusion(cls, policy_kwargs={"n_critics": 3}, **NON_DEFAULT).learn(60)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", BoxEnv(), device="cpu", gamma=0.5)
    assert {name: getattr(loaded, name) for name in NON_DEFAULT} == NON_DEFAULT
    assert (loaded.gamma, loaded.alpha_lr, loaded.policy.n_critics) == (0.5, 3e-4, 3)
    assert loaded.n_policy_updates == model.n_policy_updates == 14
    assert_same(parameters(model), parameters(loaded))
    assert_equal(model.get_parameters(), loaded.get_parameters())
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(30).n_policy_updates > model.n_policy_updates
    if cls is DPMD:
        loaded = cls.load(tmp_path / "model", device="cpu")
        assert th.equal(loaded.q_statistics, model.q_statistics) and model.q_statistics[0] != 0


@METHODS
def test_a_resumed_training_equals_one_that_was_not_broken_off(cls: type[SDAC], tmp_path: Path) -> None:
    def env() -> Any:
        return make_vec_env("Pendulum-v1", 2)

    whole = small_diffusion(cls, env(), **NON_DEFAULT).learn(124)
    with pytest.raises(ConnectionAbortedError):
        small_diffusion(cls, env(), **NON_DEFAULT).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = cls.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 104
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    assert resumed.n_policy_updates == whole.n_policy_updates
    if cls is DPMD:
        assert th.equal(whole.q_statistics, resumed.q_statistics)


def test_each_loss_reaches_its_own_network_alone() -> None:
    model = small_diffusion(SDAC).learn(40)
    batch = model.replay_buffer.sample(8)
    loss, _ = critic_objective(model.policy, batch, model.policy.explore(batch.next_observations), 0.9, 0.2)
    assert set(reached(model, loss)) == {"critic"}
    goal, ess = reverse_goal(model.policy, batch.observations, 16, th.tensor(2.0))
    assert not any(one.requires_grad for one in (goal.x, goal.noise, ess))
    assert 1.0 <= ess.item() <= 16.0
    assert set(reached(model, denoising_objective(model.policy, goal))) == {"actor"}
    assert not any(module.training for module in model.policy.modules())


def reached(model: SDAC, loss: th.Tensor) -> list[str]:
    """Networks with a gradient of the loss."""
    names, values = zip(*((n, p) for n, p in model.policy.named_parameters() if p.requires_grad), strict=True)
    gradients = th.autograd.grad(loss, values, allow_unused=True)
    return [name.partition(".")[0] for name, one in zip(names, gradients, strict=True) if one is not None]


def test_what_an_update_moves_depends_on_its_number() -> None:
    model = small_diffusion(SDAC, learning_starts=50, alpha_delay=4).learn(50)
    moved = []
    for _ in range(5):
        start = parameters(model)
        model.train(1, batch_size=8)
        after = parameters(model)
        moved.append({name.partition(".")[0] for name, value in after.items() if not th.equal(value, start[name])})
    policies = {"critic", "actor", "actor_target", "critic_target"}
    assert moved == [policies | {"temperature"}, {"critic"}, policies, {"critic"}, policies | {"temperature"}]


def test_the_target_has_scaled_rewards_and_no_bootstrap_at_the_end() -> None:
    model = small_diffusion(SDAC, policy_kwargs={"net_arch": []}).learn(40)
    batch = model.replay_buffer.sample(8)._replace(dones=th.ones(8, 1))
    loss, q_value = critic_objective(model.policy, batch, batch.actions, 0.9, 0.2)
    q = model.critic.q_values(batch.observations, batch.actions)
    th.testing.assert_close(loss, (q - 0.2 * batch.rewards.flatten()).square().mean(dim=1).sum())
    th.testing.assert_close(q_value, q.mean())


def test_the_rates_of_policy_and_alpha_have_their_own_course() -> None:
    options = {"learning_rate": 1e-3, "policy_lr_end": 1e-4, "policy_lr_begin": 2, "policy_lr_steps": 3}
    model = small_diffusion(SDAC, learning_starts=50, policy_delay=1, alpha_lr=0.5, **options).learn(50)
    rates = []
    for _ in range(7):
        model.train(1, batch_size=8)
        rates.append(model.actor.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 7e-4, 4e-4, 1e-4, 1e-4])
    assert model.critic.optimizer.param_groups[0]["lr"] == 1e-3
    assert model.temperature.alpha().item() == pytest.approx(5.0 * np.exp(-0.5), rel=1e-4)


def test_executed_actions_are_noisy_in_the_box_and_stored() -> None:
    model = small_diffusion(SDAC, learning_starts=10).learn(40)
    stored = model.replay_buffer.actions[: model.replay_buffer.pos]
    assert np.abs(stored).max() <= 1.0
    model.temperature.restart(1e-6)
    obs = observations(model)
    # Without noise on top, what is left are the chains' own.
    th.manual_seed(0)
    chain = model.policy.sample(th.as_tensor(obs), model.actor_target)
    th.manual_seed(0)
    np.testing.assert_allclose(model.predict(obs)[0], chain.numpy(), atol=1e-5)


@METHODS
def test_actions_are_stored_without_the_clip_of_the_environment_on_request(cls: type[SDAC]) -> None:
    env = BoxEnv(action_space=gym.spaces.Box(-2.0, 0.5, (2,), np.float32))
    model = small_diffusion(cls, env, clip_actions=False, noise_scale=1.0).learn(20)
    buffer = model.replay_buffer
    assert np.abs(buffer.actions[:20]).max() <= 1.0  # random actions
    model.learn(20, reset_num_timesteps=False)
    stored, executed = buffer.actions[20:40, 0], np.array(env.executed[20:40])
    assert np.abs(stored).max() > 1.5
    np.testing.assert_allclose(executed, (np.clip(stored, -1.0, 1.0) + 1.0) * 1.25 - 2.0, atol=1e-5)
    # Those of targets and losses too, but not those of predict.
    obs = th.as_tensor(observations(model))
    assert model.policy.explore(obs).abs().max() > 1.5
    assert model.action_space.contains(model.predict(observations(model)[0])[0])
    model.clip_actions = True
    assert model.policy.explore(obs).abs().max() <= 1.0


def test_action_noise_joins_an_action_that_is_stored_unclipped() -> None:
    noise = NormalActionNoise(np.full(2, 5.0), np.zeros(2))
    model = small_diffusion(SDAC, clip_actions=False, noise_scale=0.0, action_noise=noise).learn(40)
    stored = model.replay_buffer.actions[20:40]
    assert stored.min() >= 4.0 and stored.max() <= 6.0


def test_options_act_from_their_assignment_on() -> None:
    model = small_diffusion(SDAC)
    model.n_particles, model.init_alpha = 5, 2.0
    assert model.policy.n_particles == 5
    assert model.temperature.alpha().item() == pytest.approx(2.0)
    model.diffusion_steps = 7
    assert model.policy.schedule.n_steps == 7


def test_alpha_starts_anew_as_in_a_new_model() -> None:
    options = {"alpha_lr": 0.1, "alpha_delay": 1}
    model, new = small_diffusion(SDAC, **options), small_diffusion(SDAC, init_alpha=2.0, **options)
    for _ in range(3):
        model.update_temperature()
    model.init_alpha = 2.0
    for _ in range(3):
        for one in (model, new):
            one.update_temperature()
    assert model.temperature.alpha().item() == pytest.approx(new.temperature.alpha().item())


def test_presets_fill_what_is_left_open() -> None:
    assert small_diffusion(SDAC).alpha_lr == 7e-3
    assert small_diffusion(SDAC, preset="qflex").alpha_lr == 3e-4
    assert small_diffusion(SDAC, preset="qflex", alpha_lr=0.1).alpha_lr == 0.1


@METHODS
def test_a_preset_of_load_replaces_what_it_stands_for(cls: type[SDAC], tmp_path: Path) -> None:
    model = small_diffusion(cls, alpha_lr=0.1)
    model.save(tmp_path / "model")
    loads = [{}, {"preset": "qflex"}, {"preset": "qflex", "alpha_lr": 0.2}, {"preset": "official"}]
    loaded = [cls.load(tmp_path / "model", BoxEnv(), device="cpu", **one) for one in loads]
    assert [(one.preset, one.alpha_lr) for one in loaded] == [
        ("official", 0.1),
        ("qflex", 3e-4),
        ("qflex", 0.2),
        ("official", 7e-3),
    ]
    loaded[1].learn(40)
    assert loaded[1].temperature.optimizer.param_groups[0]["lr"] == 3e-4
    with pytest.raises(ValueError, match="preset='qflx' is unknown, did you mean 'qflex'"):
        cls.load(tmp_path / "model", device="cpu", preset="qflx")
    with pytest.raises(ValueError, match=r"preset='qflex' would change nothing: .* make a new model"):
        model.preset = "qflex"
    assert model.preset == "official"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper"}, "preset='paper' is unknown.* Choose one of official, qflex"),
        ({"n_particles": 0}, "n_particles must be an integer of at least 1, not 0"),
        ({"diffusion_steps": 0}, "diffusion_steps must be an integer of at least 1, not 0"),
        ({"beta_schedule": "cosin"}, "beta_schedule='cosin' is unknown, did you mean 'cosine'"),
        ({"beta_scale": 0.0}, r"beta_scale must be a number in \(0, 1\], not 0.0"),
        ({"noise_scale": -1.0}, "noise_scale must be a number"),
        ({"clip_actions": 1}, "clip_actions must be True or False, not 1"),
        ({"init_alpha": 0.0}, r"init_alpha must be a number in \(0, inf\), not 0.0"),
        ({"alpha_lr": 0.0}, "alpha_lr must be a number"),
        ({"reverse_samples": 0}, "reverse_samples must be an integer of at least 1"),
        ({"reward_scale": 0.0}, "reward_scale must be a number"),
        ({"policy_lr_steps": 0}, "policy_lr_steps must be an integer of at least 1"),
        ({"policy_kwargs": {"net_arch": {"vf": [8]}}}, "Unknown network in net_arch 'vf'.* Known are pi, qf"),
        ({"policy_kwargs": {"n_particles": 8}}, "Pass n_particles to SDAC itself"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_diffusion(SDAC, **options)


def test_goals_and_dict_observations() -> None:
    model = small_diffusion(SDAC, ReachEnv(), "MultiInputPolicy", n_particles=1).learn(60)
    assert model.n_policy_updates > 0


@METHODS
def test_its_policy_is_exported(cls: type[SDAC], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    model = small_diffusion(cls, BoxEnv(action_space=gym.spaces.Box(-2.0, 0.5, (2,), np.float32))).learn(60)
    obs = observations(model)
    expected = model.predict(obs, deterministic=True)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, {"obs": obs})[0], expected, atol=1e-4)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(th.as_tensor(obs)).numpy(), expected, atol=1e-4)
    loaded = SDACPolicy.load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)
