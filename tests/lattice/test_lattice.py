"""What the algorithms with Lattice's noise have of the common base, in both forms."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import LatticeCrossQ, LatticeQFlex, LatticeSAC, TrainingCheckpoint
from sb3_qflex.common.validation import UnsupportedError

ALGORITHMS = [LatticeSAC, LatticeCrossQ, LatticeQFlex]
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"log_std_init": -0.5},
    "state": {
        "state_dependent": True,
        "noise_sample_freq": 5,
        "std_clip": (1e-2, 2.0),
        "std_reg": 0.1,
        "use_expln": True,
        "clip_mean": 1.5,
        "lattice_alpha": 0.7,
        "log_std_init": -1.0,
    },
    "short": {"state_dependent": True, "full_std": False},
}

both = pytest.mark.parametrize("form", list(FORMS)[:2])
every = pytest.mark.parametrize("algorithm", ALGORITHMS)


def small(
    algorithm: type, env: Any = "Pendulum-v1", form: str = "plain", policy: str = "MlpPolicy", **given: Any
) -> Any:
    policy_kwargs = {"net_arch": [16], **FORMS[form], **given.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu", **given}
    if issubclass(algorithm, LatticeQFlex):
        arguments = {"flow_steps": 2, "guidance_steps": 2, **arguments}
    return algorithm(policy, env, policy_kwargs=policy_kwargs, **arguments)


@every
@pytest.mark.parametrize("form", FORMS)
def test_k6_a_saved_copy_acts_the_same_and_goes_on(algorithm: type, form: str, tmp_path: Path) -> None:
    model = small(algorithm, BoxEnv(), form).learn(36)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", BoxEnv(), device="cpu")
    assert_same(parameters(model), parameters(loaded))
    assert model.policy.noise == loaded.policy.noise
    obs = observations(model)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    both = []
    for one in (model, loaded):
        th.manual_seed(0)
        both.append(one.actor.action_log_prob(th.as_tensor(obs)))
    assert_equal(*both)
    assert loaded.learn(30)._n_updates > model._n_updates


@pytest.mark.parametrize(
    ("algorithm", "form"), [(LatticeSAC, "plain"), (LatticeSAC, "state"), (LatticeCrossQ, "state")]
)
def test_a_resumed_training_equals_one_that_was_not_broken_off(algorithm: type, form: str, tmp_path: Path) -> None:
    def env() -> Any:
        return make_vec_env("Pendulum-v1", 2)

    # Checkpoints lie between two draws of noise that is held for 5 steps.
    whole = small(algorithm, env(), form).learn(76)
    with pytest.raises(ConnectionAbortedError):
        small(algorithm, env(), form).learn(76, [TrainingCheckpoint(tmp_path, every=16), BreakOff(60)])
    resumed = algorithm.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 60
    resumed.learn(76 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    assert ("held" in whole.training_state()["exploration"]) == (form == "state")


@every
def test_noise_is_held_while_training_collects_and_nowhere_else(algorithm: type) -> None:
    model = small(algorithm, make_vec_env(BoxEnv, 3), "state", learning_starts=0)
    model.learn(3)
    held = []
    for _ in range(12):
        model._sample_action(0, None, 3)
        held.append(model.actor.action_dist.held.matrices)
    changes = [first is not second for first, second in pairwise(held)]
    assert [index for index, changed in enumerate(changes) if changed] == [3, 8]
    obs = observations(model, 3)
    assert not np.array_equal(model.predict(obs)[0], model.predict(obs)[0])
    assert model.actor.action_dist.held.matrices is held[-1]


@every
@both
def test_deterministic_actions_are_a_function_of_the_observation_alone(algorithm: type, form: str) -> None:
    model = small(algorithm, BoxEnv(), form).learn(36)
    obs = observations(model)
    together = model.predict(obs, deterministic=True)[0]
    th.manual_seed(3)
    alone = np.concatenate([model.predict(one[None], deterministic=True)[0] for one in obs])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    if model.policy.noise.state_dependent:
        bound = np.tanh(1.5) + (0.0 if algorithm is not LatticeQFlex else 1.0)
        assert np.abs(together).max() <= bound


@every
@both
def test_each_loss_moves_its_own_network_alone(algorithm: type, form: str) -> None:
    model = small(algorithm, BoxEnv(), form).learn(40)
    assert not any(module.training for module in model.policy.modules())
    moved: dict[str, set[str]] = {}
    minimise = model.minimise

    def watched(optimizer: th.optim.Optimizer, loss: th.Tensor, name: str) -> None:
        before = parameters(model)
        minimise(optimizer, loss, name)
        after = parameters(model)
        moved[name] = {key.partition(".")[0] for key in after if not th.equal(before[key], after[key])}

    model.minimise = watched
    before = parameters(model)
    model.gradient_step(model.replay_buffer.sample(8))
    assert moved.pop("actor") == {"actor"} and moved.pop("critic") == {"critic"}
    assert moved.pop("ent_coef", set()) == set() and moved.pop("flow", {"field"}) == {"field"} and not moved
    noise = [key for key in before if key.startswith("actor.log_std")] or ["actor.net.4.weight"]
    assert all(not th.equal(before[key], parameters(model)[key]) for key in noise)


@both
def test_the_fast_forms_of_the_source_network_give_the_same_actions(form: str) -> None:
    model = small(LatticeCrossQ, BoxEnv(), form).learn(36)
    obs = th.as_tensor(observations(model))
    for rows in (obs, obs[:1]):
        for deterministic in (True, False):
            th.manual_seed(1)
            fast = model.policy.source(rows, deterministic)
            th.manual_seed(1)
            with th.no_grad():
                plain = model.actor(rows, deterministic)
            th.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


@both
def test_the_source_network_has_one_gradient_in_its_fast_and_in_its_plain_pass(form: str) -> None:
    model = small(LatticeCrossQ, BoxEnv(), form).learn(36)
    obs, gradients = th.as_tensor(observations(model)), []
    for hooked in (False, True):
        # A copy: statistics of BatchRenorm move in train mode.
        actor = deepcopy(model.actor).train()
        if hooked:
            actor.net.register_forward_hook(lambda *_: None)
        th.manual_seed(0)
        actions, log_prob = actor.action_log_prob(obs)
        loss = actions.square().sum() + log_prob.sum()
        gradients.append(th.autograd.grad(loss, list(actor.parameters()), allow_unused=True))
    assert all(gradient is not None for gradient in gradients[0])
    th.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


@every
@both
@pytest.mark.parametrize("env", ["box", "dict"])
def test_its_policy_is_exported(algorithm: type, form: str, env: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    made = ReachEnv() if env == "dict" else BoxEnv(action_space=gym.spaces.Box(-2.0, 0.5, (2,), np.float32))
    policy = "MultiInputPolicy" if env == "dict" else "MlpPolicy"
    # Means beyond the bound, so that it counts.
    model = small(algorithm, made, form, policy, policy_kwargs={"clip_mean": 0.05}).learn(36)
    obs = observations(model, 6)
    inputs = obs if isinstance(obs, dict) else {"obs": obs}
    expected = model.predict(obs, deterministic=True)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=1e-5)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(*map(th.as_tensor, inputs.values())).numpy(), expected, atol=1e-5)
    loaded = type(model.policy).load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    assert loaded.noise == model.policy.noise
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)
    with pytest.raises(UnsupportedError, match="Lattice's noise has no exported form: leave out noise"):
        model.export_torchscript(tmp_path / "policy", noise=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"std_reg": -1.0}, r"std_reg must be a number in \[0, inf\)"),
        ({"lattice_alpha": -0.1}, r"lattice_alpha must be a number in \[0, inf\)"),
        (
            {"std_clip": (1.0, 1e-3)},
            r"two positive numbers, the smaller one first, not \(1.0, 0.001\)",
        ),
        ({"std_clip": 1.0}, "std_clip must be two positive numbers"),
        ({"std_clip": (0.0, 1.0)}, "std_clip must be two positive numbers"),
        ({"state_dependent": "yes"}, "state_dependent must be True or False, not 'yes'"),
        ({"noise_sample_freq": 0}, "noise_sample_freq must be an integer of at least 1, not 0"),
        ({"clip_mean": -1.0}, r"clip_mean must be a number in \[0, inf\)"),
        ({"log_std_init": "0"}, "log_std_init must be a number"),
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", [LatticeSAC, LatticeQFlex])
def test_bad_settings_are_refused_at_construction(algorithm: type, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(algorithm, policy_kwargs=given)


def test_sb3s_names_of_gsde_and_unknown_ones_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="gSDE is not supported"):
        small(LatticeSAC, use_sde=True)
    with pytest.raises(TypeError, match="no option 'latice_alpha', did you mean 'lattice_alpha'"):
        small(LatticeSAC, policy_kwargs={"latice_alpha": 1.0})
    with pytest.raises(ValueError, match="or a subclass of LatticeSACPolicy"):
        LatticeSAC(LatticeQFlex.policy_aliases["MlpPolicy"], "Pendulum-v1")


@every
def test_a_diverging_actor_is_reported_and_not_a_failed_factorisation(algorithm: type) -> None:
    model = small(algorithm, BoxEnv()).learn(30)
    with th.no_grad():
        next(model.actor.parameters()).fill_(np.nan)
    with pytest.raises(ValueError, match="not finite"):
        model.train(gradient_steps=1, batch_size=8)
