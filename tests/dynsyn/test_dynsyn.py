"""DynSyn on SAC, CrossQ and QFlex: options, saving, checkpoints, exports, RL Zoo."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, assert_same, observations, parameters
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import DynSynCrossQ, DynSynQFlex, DynSynSAC, QFlex, TrainingCheckpoint

BOX = gym.spaces.Box(-2.0, 0.5, (5,), np.float32)
GROUPS = [[3, 0], [1], [2, 4]]
CLASSES = (DynSynSAC, DynSynCrossQ, DynSynQFlex)
#: The amplitude grows while these train.
GROWING = {"weight_k": 1e-3, "weight_a0": 40}

all_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def small(cls: type, env: Any = None, groups: Any = GROUPS, **options: Any) -> Any:
    policy_kwargs = {"net_arch": [16], "groups": groups, **options.pop("policy_kwargs", {})}
    flow = {"flow_steps": 2, "guidance_steps": 2} if issubclass(cls, QFlex) else {}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu", **flow}
    env = BoxEnv(action_space=BOX) if env is None else env
    return cls("MlpPolicy", env, policy_kwargs=policy_kwargs, **{**arguments, **options})


@all_classes
def test_a_saved_copy_acts_the_same_and_goes_on(cls: type, tmp_path: Path) -> None:
    model = small(cls, policy_kwargs={"weight_log_std": 0.1}, target_entropy=-7.0, **GROWING).learn(90)
    assert model.synergies.amplitude.item() == pytest.approx(0.05, abs=2e-3)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", BoxEnv(action_space=BOX), device="cpu", gamma=0.5)
    assert (loaded.weight_k, loaded.weight_a0, loaded.weight_amp, loaded.target_entropy) == (1e-3, 40, None, -7.0)
    assert (loaded.policy.groups, loaded.policy.weight_log_std) == (GROUPS, 0.1)
    assert_same(parameters(model), parameters(loaded))
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(30, reset_num_timesteps=False).synergies.amplitude > model.synergies.amplitude
    # Steps are counted from 0 again, and those of before count.
    fine = cls.load(tmp_path / "model", BoxEnv(action_space=BOX), device="cpu").learn(5).learn(30)
    assert fine.num_timesteps == 30 and fine.synergies.amplitude > 0.07
    fixed = cls.load(tmp_path / "model", device="cpu", weight_amp=0.02)
    assert fixed.synergies.amplitude.item() == pytest.approx(0.02)


@all_classes
def test_a_resumed_training_equals_one_that_was_not_broken_off(cls: type, tmp_path: Path) -> None:
    def env() -> Any:
        return make_vec_env("PlanarChain-v0", 2, env_kwargs={"n_links": 5})

    options = {"train_freq": 3, "ent_coef": "auto", **GROWING}
    whole = small(cls, env(), **options).learn(124)
    with pytest.raises(ConnectionAbortedError):
        small(cls, env(), **options).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = cls.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 104
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    assert whole.synergies.amplitude > 0.0


@all_classes
def test_its_policy_is_exported(cls: type, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    model = small(cls, weight_amp=0.05).learn(60)
    # The last three lead to groups near their bounds, beyond which the weights of some muscles go.
    obs = observations(model, 6) * np.array([[1.0]] * 3 + [[100.0]] * 3, np.float32)
    expected = model.predict(obs, deterministic=True)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, {"obs": obs})[0], expected, atol=1e-5)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(th.as_tensor(obs)).numpy(), expected, atol=1e-5)
    loaded = type(model.policy).load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)

    noise = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    noisy = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "noisy", noise=True)))
    inputs = {one.name: value for one, value in zip(noisy.get_inputs(), (obs, noise), strict=True)}
    sampled = th.jit.load(str(model.export_torchscript(tmp_path / "noisy", noise=True)))(
        *map(th.as_tensor, (obs, noise))
    )
    np.testing.assert_allclose(noisy.run(None, inputs)[0], sampled.numpy(), atol=1e-5)
    assert np.abs(sampled.numpy() - expected).max() > 0.01


def test_an_exported_sample_is_the_models() -> None:
    model = small(DynSynSAC, weight_amp=0.1).learn(60)
    obs = th.as_tensor(observations(model, 6))
    head = model.policy.exported_head(True)
    th.manual_seed(0)
    noise = th.cat([th.randn(6, 3), th.randn(6, 2)], dim=1)
    th.manual_seed(0)
    with th.no_grad():
        th.testing.assert_close(head(obs, noise), model.actor(obs))


@pytest.mark.parametrize("exploration", ["source", "flow"])
def test_deterministic_actions_do_not_depend_on_neighbours_or_seeds(exploration: str) -> None:
    model = small(DynSynQFlex, exploration=exploration, weight_amp=0.1).learn(60)
    obs = observations(model, 6)
    together = model.predict(obs, deterministic=True)[0]
    th.manual_seed(1)
    for row, expected in zip(obs, together, strict=True):
        np.testing.assert_allclose(model.predict(row, deterministic=True)[0], expected, atol=1e-6)


def test_muscles_of_a_group_act_as_one_until_the_amplitude_grows() -> None:
    for cls in (DynSynSAC, DynSynCrossQ):
        model = small(cls, weight_a0=70, weight_k=1e-3).learn(60)
        actions = model.policy.scale_action(model.predict(observations(model, 6))[0])
        np.testing.assert_allclose(actions[:, 0], actions[:, 3], atol=1e-6)
        np.testing.assert_allclose(actions[:, 2], actions[:, 4], atol=1e-6)
        model.learn(60, reset_num_timesteps=False)
        actions = model.policy.scale_action(model.predict(observations(model, 6))[0])
        assert 1e-4 < np.abs(actions[:, 0] / actions[:, 3] - 1.0).max() < 0.1


def test_the_target_entropy_is_that_of_the_groups() -> None:
    assert small(DynSynSAC).target_entropy == -3.0
    model = small(DynSynSAC, target_entropy="reference")
    assert model.target_entropy == -5.0
    model.target_entropy = "auto"
    assert model.target_entropy == -3.0
    assert small(DynSynCrossQ).target_entropy == -3.0


def test_groups_are_kept_as_lists(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text('{"groups": [[0, 4], [1], [2, 3]]}')
    model = small(DynSynSAC, groups=str(tmp_path / "g.json"))
    (tmp_path / "g.json").unlink()
    model.save(tmp_path / "model")
    assert DynSynSAC.load(tmp_path / "model", device="cpu").policy.groups == [[0, 4], [1], [2, 3]]


def test_a_fixed_amplitude_is_assigned_and_given_up() -> None:
    model = small(DynSynSAC, weight_amp=0.03)
    model.weight_amp = 0.07
    assert model.synergies.amplitude.item() == pytest.approx(0.07)
    model.weight_amp = None
    model.learn(60)
    assert model.synergies.amplitude.item() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [[0, 1]]}, r"groups must hold each of the 5 actuators, 0 to 4, exactly once; missing: 2, 3, 4"),
        ({"groups": "myoHand"}, r"groups='myoHand' must hold each of the 5 actuators"),
        ({"weight_k": -1.0}, "weight_k must be a number"),
        ({"weight_a0": "late"}, "weight_a0 must be a number"),
        ({"weight_amp": 0.2}, r"weight_amp must be a number in \[0, 0.1\], not 0.2"),
        ({"target_entropy": "referenc"}, "target_entropy='referenc' is unknown, did you mean 'reference'"),
        ({"policy_kwargs": {"weight_log_std": 3.0}}, r"weight_log_std must be a number in \[-20, 2\]"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    for cls in CLASSES:
        with pytest.raises(ValueError, match=message):
            small(cls, **{**options, "policy_kwargs": dict(options.get("policy_kwargs", {}))})


def test_unknown_options_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="DynSynSAC has no option 'weight_ampl', did you mean 'weight_amp'"):
        small(DynSynSAC, weight_ampl=0.1)
    with pytest.raises(TypeError, match="'group', did you mean 'groups'"):
        small(DynSynSAC, policy_kwargs={"group": GROUPS})


def test_each_loss_reaches_its_own_network_alone() -> None:
    model = small(DynSynSAC, weight_amp=0.1).learn(40)
    batch, before = model.replay_buffer.sample(8), parameters(model)
    actions, log_prob = model.actor.action_log_prob(batch.observations)
    loss = (0.1 * log_prob - th.cat(model.critic(batch.observations, actions), dim=1).min(dim=1).values).mean()
    model.minimise(model.actor.optimizer, loss, "actor")
    changed = {name for name, value in parameters(model).items() if not th.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"actor"}
    assert "actor.weight_mean.weight" in changed
