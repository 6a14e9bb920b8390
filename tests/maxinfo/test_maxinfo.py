"""MaxInfoSAC and MaxInfoCrossQ: the order of an update, and what they have of the common base."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.sb3_sac import assert_equal_after_updates, both
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import MaxInfoCrossQ, MaxInfoSAC, QFlex, TrainingCheckpoint
from sb3_qflex.common.model_file import BrokenFileError
from sb3_qflex.sac.objectives import actor_objective
from sb3_qflex.sac.policies import SACPolicy
from sb3_qflex.sac.sac import SAC

NON_DEFAULT: dict[str, Any] = {
    "ensemble_size": 3,
    "ensemble_arch": [8],
    "ensemble_lr": 1e-3,
    "info_coef": "auto_0.3",
    "reward_weight": 0.2,
    "info_norm_cap": 100.0,
    "reference": "jax",
    "slow_tau": 0.1,
}
ALGORITHMS = [MaxInfoSAC, MaxInfoCrossQ]


def small(algorithm: Any = MaxInfoSAC, env: Any = "Pendulum-v1", policy: str = "MlpPolicy", **options: Any) -> Any:
    policy_kwargs = {"net_arch": [16], **options.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu"}
    return algorithm(policy, env, policy_kwargs=policy_kwargs, **{**arguments, "ensemble_arch": [16], **options})


def information_of(model: Any) -> dict[str, th.Tensor]:
    return {name: value.clone() for name, value in model.information.state_dict().items()}


@pytest.mark.parametrize("options", [{}, {"ent_coef": 0.2, "n_steps": 3}], ids=str)
def test_k2_without_a_bonus_it_is_sb3s_sac(options: dict[str, Any]) -> None:
    assert_equal_after_updates(*both(ours=MaxInfoSAC, own={"info_coef": 0.0}, **options))


def test_k2_without_a_bonus_the_whole_training_is_that_of_its_sibling() -> None:
    cross_q = {"ent_coef": "auto", "exploration": "source", "policy_kwargs": {"net_arch": [16]}}
    cases = [(MaxInfoSAC, SAC, {"policy_kwargs": {"net_arch": [16]}}), (MaxInfoCrossQ, QFlex, cross_q)]
    for algorithm, sibling, options in cases:
        common = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu"}
        plain = sibling("MlpPolicy", "Pendulum-v1", **common, **options).learn(60)
        model = small(algorithm, info_coef=0.0)
        start = information_of(model)
        assert_same(parameters(plain), parameters(model.learn(60)))
        assert_same(start, information_of(model))
        name = next(iter(dict(plain.actor.named_parameters())))
        assert not th.equal(small(algorithm).learn(60).actor.state_dict()[name], plain.actor.state_dict()[name])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("options", [{}, {"reference": "jax", "learn_reward": False, "info_coef": 0.5}], ids=str)
def test_it_learns_all_of_its_parts_and_logs_them(algorithm: Any, options: dict[str, Any]) -> None:
    model = small(algorithm, BoxEnv(), **options)
    start, slow = information_of(model), dict(model.slow_actor.state_dict())
    slow = {name: value.clone() for name, value in slow.items()}
    model.learn(60)
    assert {name for name, value in information_of(model).items() if th.equal(value, start[name])} == set()
    # The slow policy is behind the policy.
    name = next(iter(dict(model.actor.named_parameters())))
    moved = (model.actor.state_dict()[name] - slow[name]).abs().max()
    assert 0.0 < (model.slow_actor.state_dict()[name] - slow[name]).abs().max() < 0.5 * moved
    logged = {"train/info_coef", "train/info_gain", "train/slow_info_gain", "train/ensemble_loss"}
    assert logged <= model.logger.name_to_value.keys()
    learned = isinstance(model.info_coef, str)
    assert (model.log_info_coef.item() != 0.0) == learned
    assert ("train/info_coef_loss" in model.logger.name_to_value) == learned


def test_normalisers_take_in_the_batches_of_their_reference() -> None:
    for reference, transitions in (("torch", 8), ("jax", 4 * 8)):
        model = small(env=BoxEnv(), reference=reference, learning_starts=60).learn(50)
        model.train(4, batch_size=8)
        assert model.information.inputs.count == model.information.targets.count == transitions
        assert model.information.gains.count == 4 * 2 * 8


def test_the_bonus_is_lambda_before_its_step_times_the_normalised_gain() -> None:
    model = small(env=BoxEnv(), info_coef="auto_0.3").learn(40)
    obs = model.replay_buffer.sample(8).observations
    info_coef = model.log_info_coef.item()
    actions, _ = model.actor.action_log_prob(obs)
    bonus = model.bonus(obs, actions)
    assert model.log_info_coef.item() != info_coef
    gains = model.information.gains
    expected = np.exp(info_coef) * (model.information_gain(obs, actions) - gains.mean) / gains.var.sqrt()
    th.testing.assert_close(bonus(obs, actions), expected)
    th.testing.assert_close(bonus(obs, actions.clone()), expected)
    # Its gradient is that of finite differences.
    (gradient,) = th.autograd.grad(bonus(obs, actions).sum(), actions)
    assert gradient.abs().max() > 0.0
    model.information.double()
    step, doubled = 1e-4, actions.detach().double()
    for column in range(2):
        shift = th.zeros(2, dtype=th.float64)
        shift[column] = step
        higher, lower = (model.information_gain(obs, doubled + sign * shift) for sign in (1.0, -1.0))
        difference = np.exp(info_coef) * (higher - lower) / (2.0 * step * gains.var.sqrt())
        np.testing.assert_allclose(gradient[:, column], difference.detach(), rtol=2e-2, atol=1e-4)


def test_each_loss_moves_its_own_network_alone() -> None:
    model = small(env=BoxEnv()).learn(40)
    batch = model.replay_buffer.sample(8)
    actions, log_prob = model.actor.action_log_prob(batch.observations)
    bonus = model.bonus(batch.observations, actions)
    before, information = parameters(model), information_of(model)
    loss = actor_objective(model.critic, batch.observations, actions, log_prob, None, bonus)
    model.minimise(model.actor.optimizer, loss, "actor")
    changed = {name.partition(".")[0] for name, value in parameters(model).items() if not th.equal(value, before[name])}
    assert changed == {"actor"}
    assert_same(information, information_of(model))
    before = parameters(model)
    loss = model.information.loss(batch.observations, batch.actions, batch.next_observations, batch.rewards)
    model.minimise(model.information_optimizer, loss, "ensemble")
    assert_same(before, parameters(model))
    changed = {name for name, value in information_of(model).items() if not th.equal(value, information[name])}
    assert changed == {name for name in information if name.startswith("ensemble.")}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_k6_a_saved_copy_is_the_same_and_goes_on(algorithm: Any, tmp_path: Path) -> None:
    model = small(algorithm, BoxEnv(), **NON_DEFAULT).learn(60)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", BoxEnv(), device="cpu", gamma=0.5)
    assert {name: getattr(loaded, name) for name in NON_DEFAULT} == NON_DEFAULT
    assert_equal(model.get_parameters(), loaded.get_parameters())
    assert {
        "information",
        "information_optimizer",
        "info_coef_optimizer",
        "slow_actor",
    } <= loaded.get_parameters().keys()
    assert th.equal(model.log_info_coef, loaded.log_info_coef)
    assert loaded.information.gains.cap == 100.0
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert loaded.learn(30)._n_updates > model._n_updates
    frozen = algorithm.load(tmp_path / "model", BoxEnv(), device="cpu", ensemble_lr=0.0)
    start = information_of(frozen)
    frozen.learn(30)
    after = information_of(frozen)
    assert all(th.equal(after[name], start[name]) for name in after if name.startswith("ensemble."))
    for change in ({"reference": "torch"}, {"ensemble_size": 7}, {"ensemble_arch": [32]}, {"learn_reward": False}):
        with pytest.raises(ValueError, match=rf"load cannot take {next(iter(change))}, .* assign it to the loaded"):
            algorithm.load(tmp_path / "model", device="cpu", **change)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("options", [{}, NON_DEFAULT], ids=["defaults", "others"])
def test_k6_a_resumed_training_equals_one_that_was_not_broken_off(
    algorithm: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    def env() -> Any:
        return make_vec_env("Pendulum-v1", 2)

    whole = small(algorithm, env(), **options).learn(124)
    with pytest.raises(ConnectionAbortedError):
        small(algorithm, env(), **options).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = algorithm.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 104
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    assert th.equal(whole.log_info_coef, resumed.log_info_coef)


def test_a_file_of_sac_is_none_of_its_own(tmp_path: Path) -> None:
    plain = SAC("MlpPolicy", BoxEnv(), buffer_size=10, policy_kwargs={"net_arch": [4]}, device="cpu")
    plain.save(tmp_path / "model")
    with pytest.raises(BrokenFileError, match=r"is no MaxInfoSAC model: it lacks information\.pth"):
        MaxInfoSAC.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble_size": 1}, "ensemble_size must be an integer of at least 2, not 1"),
        ({"ensemble_arch": 256}, r"ensemble_arch must be a list of widths of hidden layers, .* not 256"),
        ({"ensemble_arch": [0]}, "each width in ensemble_arch must be an integer of at least 1, not 0"),
        ({"ensemble_lr": -1.0}, "ensemble_lr must be a number"),
        ({"info_coef": "automatic"}, "info_coef must be a number >= 0, 'auto' or 'auto_x' with x > 0"),
        ({"info_coef": -0.1}, "info_coef must be a number"),
        ({"learn_reward": 1}, "learn_reward must be True or False, not 1"),
        ({"reward_weight": 1.5}, r"reward_weight must be a number in \[0, 1\], not 1.5"),
        ({"info_norm_cap": 0.0}, "info_norm_cap must be a number"),
        ({"reference": "tensorflow"}, "reference='tensorflow' is unknown.* Choose one of torch, jax"),
        ({"slow_tau": 2.0}, r"slow_tau must be a number in \[0, 1\], not 2.0"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_unknown_options_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="MaxInfoSAC has no option 'info_ceof', did you mean 'info_coef'"):
        small(info_ceof=1.0)
    with pytest.raises(TypeError, match="MaxInfoCrossQ has no option 'ensemble_sise', did you mean 'ensemble_size'"):
        small(MaxInfoCrossQ, ensemble_sise=1.0)


def test_assigned_options_act_from_then_on() -> None:
    model = small(env=BoxEnv(), info_coef=0.0).learn(40)
    model.info_coef = "auto_0.5"
    assert model.log_info_coef.item() == pytest.approx(np.log(0.5))
    assert_same(dict(model.actor.state_dict()), dict(model.slow_actor.state_dict()))
    model.ensemble_size = 4
    assert len(model.information.ensemble.weights[0]) == 4
    model.ensemble_lr = 0.0
    start = information_of(model)
    model.learn(20, reset_num_timesteps=False)
    after = information_of(model)
    assert all(th.equal(after[name], start[name]) for name in after if name.startswith("ensemble."))
    assert model.log_info_coef.item() != pytest.approx(np.log(0.5), abs=1e-9)
    assert (model.information.gains.count > 0).item()


def test_the_bound_of_q_widens_by_the_bonus() -> None:
    model = small(env=BoxEnv(), gamma=0.9, divergence_factor=1.0).learn(40)
    q_value, rewards = th.tensor(50.0), th.zeros(8)
    model._guard._checks.clear()
    for largest, within in ((100.0, True), (1.0, False)):
        model._q_bound.__init__()
        model._q_bound._first = th.zeros(())
        model._largest_bonus = th.tensor([largest])
        model.check_divergence(q_value, rewards)
        assert bool(model._guard._checks[-1].good) is within


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_dict_observations_are_learned_from_as_features(algorithm: Any) -> None:
    model = small(algorithm, ReachEnv(), "MultiInputPolicy").learn(60)
    assert model.information.weights.shape == (6 + 1,)


def test_its_policy_is_sacs_and_exported_as_such(tmp_path: Path) -> None:
    model = small(env=BoxEnv()).learn(60)
    obs = observations(model, 6)
    expected = model.predict(obs, deterministic=True)[0]
    loaded = SACPolicy.load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(th.as_tensor(obs)).numpy(), expected, atol=1e-5)
    pytest.importorskip("onnx", reason="the export extra is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, {"obs": obs})[0], expected, atol=1e-5)
