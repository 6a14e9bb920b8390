"""What QSM in both variants and DACER have of the common base, asked of each in the same words."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import DACER, QSM, TrainingCheckpoint
from sb3_qflex.common.diffusion_objectives import critic_objective
from sb3_qflex.dacer import objectives as of_dacer
from sb3_qflex.qsm import objectives as of_qsm

SMALL = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "diffusion_steps": 3, "seed": 0, "device": "cpu"}
OF_QSM = {
    "action_noise_std": 0.2,
    "n_particles": 3,
    "policy_lr_end": 1e-5,
    "policy_lr_begin": 2,
    "actor_lr_decay_steps": 10,
    "tau": 0.1,
    "diffusion_steps": 4,
}
#: Each with options of which none is the default.
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (QSM, {**OF_QSM, "preset": "qflex", "variant": "ddpm", "q_grad_scale": 2.0, "time_dim": 8}),
    "langevin": (QSM, {**OF_QSM, "variant": "langevin"}),
    "dacer": (
        DACER,
        {
            "preset": "qflex",
            "beta_schedule": "cosine",
            "start_scale": 0.7,
            "noise_scale": 0.2,
            "init_alpha": 2.0,
            "alpha_delay": 7,
            "alpha_lr": 0.1,
            "target_entropy_scale": 0.5,
            "entropy_samples": 12,
            "entropy_components": 2,
            "entropy_estimator": "diag",
            "max_grad_norm": 1.0,
            "reward_scale": 0.7,
            "policy_delay": 3,
            "policy_lr_begin": 2,
            "policy_lr_steps": 10,
            "tau": 0.1,
            "diffusion_steps": 4,
        },
    ),
}
EACH = pytest.mark.parametrize("method", METHODS)


def small(method: str, env: Any = None, policy: str = "MlpPolicy", **options: Any) -> Any:
    cls, _ = METHODS[method]
    own = {"variant": method} if cls is QSM else {"entropy_samples": 10}
    policy_kwargs = {"net_arch": [16], **options.pop("policy_kwargs", {})}
    env = BoxEnv() if env is None else env
    return cls(policy, env, policy_kwargs=policy_kwargs, **{**SMALL, **own, **options})


@EACH
def test_a_saved_copy_acts_the_same_and_goes_on(method: str, tmp_path: Path) -> None:
    cls, options = METHODS[method]
    model = small(method, policy_kwargs={"n_critics": 3}, **options).learn(60)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", BoxEnv(), device="cpu", gamma=0.5)
    assert {name: getattr(loaded, name) for name in options} == options
    assert (loaded.gamma, loaded.policy.n_critics) == (0.5, 3)
    assert loaded.n_policy_updates == model.n_policy_updates > 10
    assert_same(parameters(model), parameters(loaded))
    assert_equal(model.get_parameters(), loaded.get_parameters())
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(30).n_policy_updates > model.n_policy_updates


@EACH
def test_a_resumed_training_equals_one_that_was_not_broken_off(method: str, tmp_path: Path) -> None:
    cls, options = METHODS[method]

    def env() -> Any:
        return make_vec_env("Pendulum-v1", 2)

    whole = small(method, env(), **options).learn(124)
    with pytest.raises(ConnectionAbortedError):
        small(method, env(), **options).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = cls.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 104
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    assert resumed.n_policy_updates == whole.n_policy_updates
    assert vars(resumed).get("entropy") == vars(whole).get("entropy")


@EACH
def test_each_loss_reaches_its_own_network_alone(method: str) -> None:
    model = small(method).learn(40)
    batch = model.replay_buffer.sample(8)
    if method == "dacer":
        critic_loss, _ = of_dacer.critic_objective(model.policy, batch, 0.9, 0.2)
        actor_loss = of_dacer.actor_objective(model.policy, batch.observations)
    else:
        critic_loss, _ = critic_objective(model.policy, batch, model.policy.explore(batch.next_observations), 0.9)
        actor_loss = of_qsm.actor_objective(model.policy, batch, 50.0)
    assert reached(model, critic_loss) == {"critic"}
    # DACER's goes through the critics, and minimise differentiates by the optimizer's parameters alone.
    assert reached(model, actor_loss) == ({"actor", "critic"} if method == "dacer" else {"actor"})
    assert not any(module.training for module in model.policy.modules())
    start = parameters(model)
    model.minimise(model.actor.optimizer, actor_loss, "actor")
    changed = {name.partition(".")[0] for name, value in parameters(model).items() if not th.equal(value, start[name])}
    assert changed == {"actor"}


def reached(model: Any, loss: th.Tensor) -> set[str]:
    """Networks with a gradient of the loss."""
    names, values = zip(*((n, p) for n, p in model.policy.named_parameters() if p.requires_grad), strict=True)
    gradients = th.autograd.grad(loss, values, allow_unused=True, retain_graph=True)
    return {name.partition(".")[0] for name, one in zip(names, gradients, strict=True) if one is not None}


@EACH
def test_deterministic_actions_depend_on_the_observation_alone(method: str) -> None:
    model = small(method).learn(40)
    obs = observations(model)
    together = model.predict(obs, deterministic=True)[0]
    th.manual_seed(5)
    one_by_one = np.stack([model.predict(one, deterministic=True)[0] for one in obs])
    np.testing.assert_allclose(one_by_one, together, rtol=0, atol=1e-5)
    assert not np.array_equal(model.predict(obs)[0], model.predict(obs)[0])


@EACH
def test_executed_actions_are_noisy_in_the_box_and_stored(method: str) -> None:
    strong = {"noise_scale": 3.0} if method == "dacer" else {"action_noise_std": 3.0}
    model = small(method, learning_starts=5, **strong).learn(60)
    executed = np.stack(model.get_env().envs[0].unwrapped.executed)
    stored = model.replay_buffer.actions[: model.replay_buffer.pos].squeeze(1)
    np.testing.assert_allclose(stored, executed, atol=1e-6)
    assert np.abs(executed).max() == 1.0


@EACH
def test_the_end_of_an_episode_has_no_bootstrap(method: str) -> None:
    model = small(method, policy_kwargs={"net_arch": []}, tau=0.0).learn(40)
    batch = model.replay_buffer.sample(8)
    with th.no_grad():
        for parameter in model.critic_target.parameters():
            parameter.fill_(1e3)
    ended = batch._replace(dones=th.ones(8, 1))
    losses = []
    for one in (ended, batch):
        th.manual_seed(0)
        if method == "dacer":
            losses.append(of_dacer.critic_objective(model.policy, one, 0.9, 0.2)[0])
        else:
            next_actions = model.policy.explore(one.next_observations)
            losses.append(critic_objective(model.policy, one, next_actions, 0.9)[0])
    assert losses[1].abs() > 100.0 * losses[0].abs()


@EACH
def test_it_learns_what_is_rewarded(method: str) -> None:
    options = {"init_alpha": 1.0} if method == "dacer" else {"n_particles": 4}
    model = small(method, gamma=0.5, learning_rate=1e-3, batch_size=32, learning_starts=50, **options).learn(300)
    # The mean of the actions, which cannot be above 1.
    assert model.predict(observations(model, 64), deterministic=True)[0].mean() > 0.6


@EACH
def test_goals_and_dict_observations(method: str) -> None:
    model = small(method, ReachEnv(), "MultiInputPolicy").learn(60)
    assert model.n_policy_updates > 0


@EACH
def test_other_activations_take_the_plain_form(method: str) -> None:
    model = small(method, policy_kwargs={"activation_fn": th.nn.Tanh}).learn(60)
    assert np.isfinite(model.predict(observations(model), deterministic=True)[0]).all()


@EACH
def test_its_policy_is_exported(method: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    options = {} if method == "dacer" else {"n_particles": 3}
    box = gym.spaces.Box(-2.0, 0.5, (2,), np.float32)
    model = small(method, BoxEnv(action_space=box), **options).learn(60)
    obs = observations(model)
    expected = model.predict(obs, deterministic=True)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, {"obs": obs})[0], expected, atol=1e-4)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(th.as_tensor(obs)).numpy(), expected, atol=1e-4)
    loaded = type(model.policy).load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)
    with pytest.raises(ValueError, match="leave out noise"):
        model.export_onnx(tmp_path / "policy", noise=True)
