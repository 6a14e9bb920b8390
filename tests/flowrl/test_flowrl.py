"""What FlowRL has of the common base, and that each loss trains its own network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from sb3_qflex import DictRecentReplayBuffer, FlowRL, FlowRLPolicy, RecentReplayBuffer, TrainingCheckpoint
from sb3_qflex.common.fast import linear, products
from sb3_qflex.flowrl import flow
from sb3_qflex.flowrl.objectives import (
    Matching,
    actor_objective,
    buffer_critic_objective,
    critic_objective,
    value_objective,
)
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402
from rl_zoo3.utils import ALGOS  # noqa: E402

NON_DEFAULT: dict[str, Any] = {
    "tau": 0.5,
    "policy_delay": 3,
    "flow_steps": 2,
    "expectile": 0.8,
    "cfm_weight": 0.3,
    "cfm_clip": [0.01, 2.0],
    "cfm_weighting": "batch",
    "cfm_space": "latent",
    "recent_fraction": 0.5,
    "recent_size": 16,
}
MATCHING = Matching(0.1, (1e-3, 1.0), "sample", "action")
BOX = gym.spaces.Box(-2.0, 0.5, (2,), np.float32)

BEST = np.array([0.6, -0.4])


def small(env: Any = "Pendulum-v1", policy: str = "MlpPolicy", **options: Any) -> FlowRL:
    policy_kwargs = {"net_arch": [16], **options.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu", **options}
    return FlowRL(policy, env, policy_kwargs=policy_kwargs, **arguments)


def changed(model: FlowRL, before: dict[str, th.Tensor]) -> set[str]:
    """Networks with other parameters than before."""
    now = parameters(model)
    return {name.partition(".")[0] for name, value in now.items() if not th.equal(value, before[name])}


@pytest.mark.parametrize("options", [{}, {"n_steps": 3}, {"policy_delay": 1, "preset": "code"}], ids=str)
def test_it_trains_and_logs(options: dict[str, Any]) -> None:
    model = small(make_vec_env(BoxEnv, 2), **options)
    start = parameters(model)
    model.learn(80)
    assert changed(model, start) == {
        "actor", "critic", "critic_target", "buffer_critic", "buffer_critic_target", "value"
    }  # fmt: skip
    losses = {f"train/{name}_loss" for name in ("critic", "buffer_critic", "value", "actor", "cfm")}
    assert losses | {"train/cfm_weight"} <= model.logger.name_to_value.keys()
    diagnostics = model.diagnostics(th.as_tensor(observations(model)))
    assert diagnostics.keys() == {"q_policy", "v_buffer"} and all(map(np.isfinite, diagnostics.values()))


def test_each_loss_trains_its_own_network() -> None:
    model = small(BoxEnv(), policy_kwargs={"n_critics": 3}).learn(40)
    batch, policy = model.replay_buffer.sample(8), model.policy
    _, buffer_q = buffer_critic_objective(policy, batch, 0.9)
    assert not buffer_q.requires_grad
    names, values = zip(*((n, p) for n, p in policy.named_parameters() if p.requires_grad), strict=True)
    losses: dict[str, Callable[[], th.Tensor]] = {
        "critic": lambda: critic_objective(policy, batch, 0.9),
        "buffer_critic": lambda: buffer_critic_objective(policy, batch, 0.9)[0],
        "value": lambda: value_objective(policy, batch, 0.9),
        "actor": lambda: actor_objective(policy, batch, buffer_q, MATCHING).loss,
    }
    for expected, loss in losses.items():
        gradients = th.autograd.grad(loss(), values, allow_unused=True)
        reached = {name for name, one in zip(names, gradients, strict=True) if one is not None}
        assert reached == {name for name in names if name.startswith(f"{expected}.")} != set()
        before = parameters(model)
        model.minimise(getattr(model, expected).optimizer, loss(), expected)
        assert changed(model, before) == {expected}
    assert not any(module.training for module in policy.modules())


def test_targets_and_losses_are_those_of_the_specification() -> None:
    model = small(BoxEnv(), n_steps=2).learn(60)
    policy = model.policy
    batch = model.replay_buffer.sample(8)._replace(dones=th.tensor([[1.0], [0.0]] * 4))
    rewards, discounts = batch.rewards[:, 0], batch.discounts[:, 0] * th.tensor([0.0, 1.0] * 4)
    th.manual_seed(0)
    loss = critic_objective(policy, batch, 0.9)
    th.manual_seed(0)
    y = rewards + discounts * policy.critic_target.min_q(
        batch.next_observations, policy.sample(batch.next_observations)
    )
    q1, q2 = policy.critic.q_values(batch.observations, batch.actions)
    th.testing.assert_close(loss, (q1 - y).square().mean() + (q2 - y).square().mean())
    y = rewards + discounts * policy.value(batch.next_observations)
    q1, q2 = policy.buffer_critic.q_values(batch.observations, batch.actions)
    loss, buffer_q = buffer_critic_objective(policy, batch, 0.9)
    th.testing.assert_close(loss, (q1 - y).square().mean() + (q2 - y).square().mean())
    th.testing.assert_close(buffer_q, th.minimum(q1, q2))
    e = policy.buffer_critic_target.min_q(batch.observations, batch.actions) - policy.value(batch.observations)
    expected = th.where(e > 0, 0.7 * e.square(), 0.3 * e.square()).mean()
    th.testing.assert_close(value_objective(policy, batch, 0.7), expected)


@pytest.mark.parametrize("space", ["action", "latent", "box"])
def test_what_the_flow_is_to_reach(space: str) -> None:
    policy = small(BoxEnv(action_space=BOX)).policy
    actions = th.tensor([[-1.0, 0.0], [0.5, 1.0]])
    end = {"action": actions, "latent": flow.to_latent(actions), "box": th.tensor([[-2.0, -0.75], [-0.125, 0.5]])}[
        space
    ]
    # A field that is zero errs by what it should be.
    for parameter in policy.actor.net[-1].parameters():
        nn.init.zeros_(parameter)
    batch = small(BoxEnv(action_space=BOX)).learn(4).replay_buffer.sample(2)._replace(actions=actions)
    th.manual_seed(3)
    found = actor_objective(policy, batch, th.zeros(2), Matching(0.1, (1e-3, 1.0), "sample", space))
    th.manual_seed(3)
    start = flow.clipped_normal(actions)
    th.testing.assert_close(found.error, (end - start).square().mean())


def test_the_batch_has_its_share_of_the_latest_transitions() -> None:
    model = small(BoxEnv(), recent_size=16, recent_fraction=1.0).learn(100)
    assert isinstance(model.replay_buffer, RecentReplayBuffer)
    assert model.replay_buffer.ages(200).max() == 15
    model.recent_size = 3
    model.train(1, 8)
    assert model.replay_buffer.ages(200).max() == 2
    assert isinstance(small(ReachEnv(), "MultiInputPolicy").learn(30).replay_buffer, DictRecentReplayBuffer)
    her = small(ReachEnv(), "MultiInputPolicy", replay_buffer_class=HerReplayBuffer).learn(40)
    assert type(her.replay_buffer) is HerReplayBuffer and her._n_updates > 0


def test_presets_fill_in_what_is_none_and_what_they_filled_is_saved(tmp_path: Path) -> None:
    model = small(preset="code", cfm_space="latent")
    assert (model.cfm_weighting, model.cfm_space) == ("batch", "latent")
    model.save(tmp_path / "model")
    loaded = FlowRL.load(tmp_path / "model", device="cpu")
    assert (loaded.cfm_weighting, loaded.cfm_space) == ("batch", "latent")
    loaded = FlowRL.load(tmp_path / "model", device="cpu", preset="official", cfm_space="box")
    assert (loaded.cfm_weighting, loaded.cfm_space) == ("sample", "box")
    assert (small().cfm_weighting, small().cfm_space) == ("sample", "action")


def test_a_saved_copy_acts_the_same_and_goes_on(tmp_path: Path) -> None:
    model = small(BoxEnv(), policy_kwargs={"n_critics": 3, "net_arch": {"pi": [8], "vf": [12]}}, **NON_DEFAULT)
    model.learn(60).save(tmp_path / "model")
    loaded = FlowRL.load(tmp_path / "model", BoxEnv(), device="cpu", gamma=0.5)
    assert {name: getattr(loaded, name) for name in NON_DEFAULT} == NON_DEFAULT
    assert (loaded.gamma, loaded.policy.n_critics) == (0.5, 3)
    assert_same(parameters(model), parameters(loaded))
    assert_equal(model.get_parameters(), loaded.get_parameters())
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(30)._n_updates > model._n_updates


def test_a_resumed_training_equals_one_that_was_not_broken_off(tmp_path: Path) -> None:
    def env() -> Any:
        return make_vec_env("Pendulum-v1", 2)

    whole = small(env(), **NON_DEFAULT).learn(124)
    with pytest.raises(ConnectionAbortedError):
        small(env(), **NON_DEFAULT).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = FlowRL.resume(tmp_path, env(), device="cpu")
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))


def test_a_deterministic_action_is_a_function_of_the_observation_alone() -> None:
    model = small(BoxEnv()).learn(40)
    obs = observations(model)
    together = model.predict(obs, deterministic=True)[0]
    state = th.get_rng_state()
    alone = np.concatenate([model.predict(obs[i : i + 1], deterministic=True)[0] for i in range(len(obs))])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert th.equal(state, th.get_rng_state())
    assert not np.array_equal(model.predict(obs)[0], together)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 1.5}, r"tau must be a number in \[0, 1\], not 1.5"),
        ({"expectile": 0.0}, r"expectile must be a number in \(0, 1\], not 0.0"),
        ({"cfm_weight": -1.0}, "cfm_weight must be a number in"),
        ({"cfm_clip": (1.0, 0.5)}, r"the upper end of cfm_clip must be a number in \[1, inf\), not 0.5"),
        ({"cfm_clip": 0.5}, "cfm_clip must be a pair of numbers"),
        ({"cfm_weighting": "batches"}, "cfm_weighting='batches' is unknown, did you mean 'batch'"),
        ({"cfm_space": "raw"}, "cfm_space='raw' is unknown.* action, latent, box"),
        ({"preset": "qflex"}, "preset='qflex' is unknown.* official, code"),
        ({"flow_steps": 0}, "flow_steps must be an integer of at least 1, not 0"),
        ({"recent_size": 0}, "recent_size must be an integer of at least 1, not 0"),
        ({"recent_fraction": 2.0}, "recent_fraction must be a number in"),
        (
            {"replay_buffer_kwargs": {"recent_size": 5}},
            "Pass recent_size to FlowRL itself, not in replay_buffer_kwargs",
        ),
        ({"policy_kwargs": {"n_critics": 0}}, "n_critics must be an integer of at least 1, not 0"),
        ({"policy_kwargs": {"net_arch": {"q": [8]}}}, "Unknown network in net_arch 'q'.* Known are pi, qf, vf"),
        ({"policy_kwargs": {"net_arch": []}}, r"net_arch\['pi'\] must have at least one hidden layer"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_unknown_options_and_bad_assignments_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="FlowRL has no option 'expectil', did you mean 'expectile'"):
        small(expectil=0.5)
    model = small()
    with pytest.raises(ValueError, match="expectile must be a number"):
        model.expectile = 1.5
    assert model.expectile == 0.9


def test_diverged_critics_stop_training() -> None:
    model = small(BoxEnv(), gamma=0.9, policy_delay=1).learn(30)
    with th.no_grad():
        for q_network in model.critic.q_networks:
            q_network[-1].bias.fill_(-1e9)
    with pytest.raises(ValueError, match="Q has diverged"):
        model.train(gradient_steps=2, batch_size=8)


@pytest.mark.parametrize(
    ("env", "options"),
    [
        (lambda: BoxEnv(action_space=BOX), {}),
        (ReachEnv, {"flow_steps": 2, "policy_kwargs": {"net_arch": [8, 8], "activation_fn": nn.SiLU}}),
    ],
    ids=["box", "dict"],
)
def test_its_policy_is_exported(tmp_path: Path, env: Any, options: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    policy = "MultiInputPolicy" if env is ReachEnv else "MlpPolicy"
    model = small(env(), policy, **options).learn(60)
    obs = observations(model, 6)
    inputs = obs if isinstance(obs, dict) else {"obs": obs}
    expected = model.predict(obs, deterministic=True)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=1e-5)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    for n in (6, 1):
        rows = [th.as_tensor(value[:n]) for value in inputs.values()]
        np.testing.assert_allclose(script(*rows).numpy(), expected[:n], atol=1e-5)
    loaded = FlowRLPolicy.load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)


def test_an_exported_sample_takes_its_noise_as_an_input(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    model = small(BoxEnv()).learn(60)
    obs = observations(model, 6)
    th.manual_seed(0)
    noise = th.randn(6, 2)
    th.manual_seed(0)
    expected = model.predict(obs)[0]
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy", noise=True)))
    np.testing.assert_allclose(script(th.as_tensor(obs), noise).numpy(), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy", noise=True)))
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, (obs, noise.numpy()), strict=True)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("route", products.ROUTES)
def test_the_fast_layer_is_torchs(route: str) -> None:
    before = products.known()
    products.set_route(route)
    try:
        th.manual_seed(0)
        fast = linear.Linear(160, 128)
        x = th.randn(256, 160, requires_grad=True)
        plain = nn.functional.linear(x, fast.weight, fast.bias)
        inputs = (x, fast.weight, fast.bias)
        weight = th.randn_like(plain)
        th.testing.assert_close(fast(x), plain)
        for one, other in zip(
            th.autograd.grad((fast(x) * weight).sum(), inputs),
            th.autograd.grad((plain * weight).sum(), inputs),
            strict=True,
        ):
            th.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    finally:
        products.restore(before)


def test_the_zoo_knows_and_tunes_it() -> None:
    assert ALGOS["flowrl"] is FlowRL
    for seed, n_envs in ((0, 1), (1, 80)):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
        no_her = {"using_her_replay_buffer": False, "her_kwargs": {}}
        sampled = HYPERPARAMS_SAMPLER["flowrl"](trial, 3, n_envs, no_her)
        assert {"expectile", "cfm_weight", "policy_delay", "gamma"} <= sampled.keys()
        assert HYPERPARAMS_CONVERTER["flowrl"](trial.params) == sampled
        FlowRL("MlpPolicy", "Pendulum-v1", buffer_size=100, device="cpu", **sampled)


@pytest.mark.slow
def test_it_learns_where_one_action_is_best() -> None:
    class Bandit(BoxEnv):
        def step(self, action: np.ndarray):
            obs, _, _, truncated, info = super().step(action)
            return obs, -float(np.square(action - BEST).sum()), False, truncated, info

    model = small(Bandit(), gamma=0.0, learning_starts=200, batch_size=64, learning_rate=1e-3, gradient_steps=2,
                  buffer_size=5000, policy_kwargs={"net_arch": [32, 32]}).learn(2000)  # fmt: skip
    obs = np.tile(observations(model), (20, 1))
    # Samples too: a random action is 1.19 away on average, in squares.
    distances = [
        np.square(model.predict(obs, deterministic=mode)[0] - BEST).sum(axis=1).mean() for mode in (True, False)
    ]
    assert max(distances) < 0.1, distances
