"""A policy acts with the weights, layers and options that it has at this moment, whoever changed them and however."""

import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, observations, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import polyak_update
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from sb3_qflex import DACER, QFlex
from sb3_qflex.export import export_onnx, onnx_session

#: A longer run: SB3_QFLEX_FUZZ=1000 pytest tests/common/test_live_models.py
SEQUENCES = int(os.environ.get("SB3_QFLEX_FUZZ", 12))


def live_model(**kwargs: Any) -> QFlex:
    """Weights that give actions inside of the box, and everything that acting may keep is there."""
    model = small_model(BoxEnv(), policy_kwargs={"net_arch": [16, 16]}, **kwargs)
    th.manual_seed(0)
    edit(model.policy, lambda weight: weight.add_(0.1 * th.randn_like(weight)))
    for _ in range(3):
        actions(model.policy)
    return model


@th.no_grad()
def edit(policy: Any, change: Callable[[th.Tensor], object]) -> None:
    for parameter in policy.parameters():
        change(parameter)


def actions(policy: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of a batch, twice; the second time one by one."""
    obs = observations(policy)
    return policy.predict(obs, deterministic=True)[0], np.stack([policy.predict(o, deterministic=True)[0] for o in obs])


def by_definition(policy: Any) -> np.ndarray:
    """Of the same batch, by a copy that has only the plain path."""
    plain = copy.deepcopy(policy)
    plain.fold = plain.single_row = lambda *_: None
    return plain.predict(observations(policy), deterministic=True)[0]


def assert_acts_as_it_is(policy: Any) -> None:
    expected = by_definition(policy)
    for got in actions(policy):
        np.testing.assert_allclose(got, expected, atol=1e-5)


# --- Weights ---


def by_polyak(policy: Any) -> None:
    other = [th.zeros_like(parameter) for parameter in policy.parameters()]
    polyak_update(other, policy.parameters(), 0.5)


def by_data(policy: Any) -> None:
    for parameter in policy.parameters():
        parameter.data.mul_(0.5)


def by_new_data(policy: Any) -> None:
    for parameter in policy.parameters():
        parameter.data = 0.5 * parameter.data


def by_view(policy: Any) -> None:
    for parameter in policy.parameters():
        parameter.detach().numpy()[...] *= 0.5


def by_vector(policy: Any) -> None:
    for parameter in policy.parameters():
        parameter.data = parameter.data.contiguous()  # all that SB3 takes
    vector = policy.parameters_to_vector()
    policy.load_from_vector(vector)
    actions(policy)
    vector *= 0.5  # the array whose memory the parameters may have
    policy.load_from_vector(vector)


def by_transposition(policy: Any) -> None:
    """Same memory, same version, another matrix."""
    for network in (policy.actor, policy.field):
        square = next(layer for layer in network.net if getattr(layer, "weight", th.zeros(1)).shape == (16, 16))
        square.weight.data = square.weight.data.t()


def by_state_dict(policy: Any) -> None:
    policy.load_state_dict({name: 0.5 * value for name, value in policy.state_dict().items()})


def by_statistics(policy: Any) -> None:
    for network in (policy.actor, policy.field):
        network.net[0].running_mean.data.add_(1.0)


def by_optimizer(policy: Any) -> None:
    for parameter in policy.field.parameters():
        parameter.grad = th.ones_like(parameter)
    policy.field.optimizer.step()


def by_replacement(policy: Any) -> None:
    net = policy.field.net
    net[1] = nn.Linear(net[1].in_features, net[1].out_features)


def by_constant(policy: Any) -> None:
    for network in (policy.actor, policy.field):
        network.net[0].eps = 1.0


EDITS = [
    by_polyak,
    by_data,
    by_new_data,
    by_view,
    by_vector,
    by_transposition,
    by_state_dict,
    by_statistics,
    by_optimizer,
    by_replacement,
    by_constant,
]


@pytest.mark.parametrize("change", EDITS)
def test_predictions_have_the_weights_of_the_moment(change):
    policy = live_model().policy
    before, _ = actions(policy)
    change(policy)
    assert_acts_as_it_is(policy)
    assert np.abs(actions(policy)[0] - before).max() > 1e-4


@pytest.mark.parametrize("change", [by_data, by_view, by_vector])
def test_guidance_and_min_q_have_the_weights_of_the_moment(change):
    policy = live_model().policy
    obs = th.as_tensor(observations(policy))
    start = th.zeros(len(obs), 2)
    for _ in range(3):
        policy.ascend(obs, start)
    change(policy)
    with th.no_grad():
        got = policy.ascend(obs, start).target_actions, policy.min_q(obs, start)
    plain = copy.deepcopy(policy)
    plain.fold = lambda *_: None
    with th.no_grad():
        expected = plain.ascend(obs, start).target_actions, plain.min_q(obs, start)
    th.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_subclass_may_edit_weights_behind_each_gradient_step():
    class Decaying(QFlex):
        def gradient_step(self, batch):
            super().gradient_step(batch)
            by_data(self.policy)

    weights = []
    for plain in (False, True):
        policy_kwargs = {"net_arch": [16, 16]}
        options = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "policy_delay": 2, "bootstrap": "flow"}
        model = Decaying("MlpPolicy", BoxEnv(), policy_kwargs=policy_kwargs, gradient_steps=2, seed=0, **options)
        if plain:
            model.policy.fold = model.policy.single_row = lambda *_: None
        model.learn(24)
        weights.append(th.nn.utils.parameters_to_vector(model.policy.parameters()))
    th.testing.assert_close(*weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("algorithm", [QFlex, SAC])
def test_frozen_layers_stay_as_they_are_and_the_others_learn(algorithm):
    options = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "policy_kwargs": {"net_arch": [16]}}
    model = algorithm("MlpPolicy", BoxEnv(), seed=0, **options)
    frozen, free = list(model.actor.parameters())[:2]
    frozen.requires_grad_(False)
    before, others = frozen.clone(), free.clone()
    model.learn(30)
    assert th.equal(frozen, before) and not th.equal(free, others)


@pytest.mark.parametrize("algorithm", [QFlex, DACER, SAC])
def test_a_whole_frozen_network_stays_as_it_is_until_it_is_free_again(algorithm):
    options = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "policy_kwargs": {"net_arch": [16]}}
    model = algorithm("MlpPolicy", BoxEnv(), seed=0, **options)
    model.actor.requires_grad_(False)
    before = [[one.clone() for one in network.parameters()] for network in (model.actor, model.critic)]
    model.learn(30)
    assert all(th.equal(*pair) for pair in zip(model.actor.parameters(), before[0], strict=True))
    assert not any(th.equal(*pair) for pair in zip(model.critic.parameters(), before[1], strict=True))
    model.actor.requires_grad_(True)
    model.learn(10, reset_num_timesteps=False)
    assert not all(th.equal(*pair) for pair in zip(model.actor.parameters(), before[0], strict=True))


# --- Layers and hooks ---


class Halved(nn.Sequential):
    def forward(self, x):
        return 0.5 * super().forward(x)


def mask(*_: Any) -> Any:
    return _[-1] * 0.5


def append_relu(policy: Any) -> None:
    policy.field.net[-1].bias.data.sub_(1.0)
    policy.field.net.append(nn.ReLU())


def remove_relu(policy: Any) -> None:
    del policy.field.net[2]


def other_container(policy: Any) -> None:
    policy.field.net = Halved(*policy.field.net)


def hook(policy: Any) -> None:
    policy.field.net[1].register_forward_hook(mask)


def container_hook(policy: Any) -> None:
    policy.field.net.register_forward_hook(mask)


def pre_hook(policy: Any) -> None:
    policy.field.net[1].register_forward_pre_hook(lambda _, args: (0.5 * args[0],))


def old_spectral_norm(policy: Any) -> None:
    nn.utils.spectral_norm(policy.field.net[1])


def new_spectral_norm(policy: Any) -> None:
    parametrizations.spectral_norm(policy.field.net[1])


def weight_norm(policy: Any) -> None:
    parametrizations.weight_norm(policy.actor.net[1])
    policy.actor.net[1].parametrizations.weight.original0.data.mul_(0.5)


def pruning(policy: Any) -> None:
    prune.l1_unstructured(policy.field.net[1], "weight", 0.7)


LAYERS = [
    append_relu,
    remove_relu,
    other_container,
    hook,
    container_hook,
    pre_hook,
    old_spectral_norm,
    new_spectral_norm,
    weight_norm,
    pruning,
]


@pytest.mark.parametrize("change", LAYERS)
def test_changed_layers_act_and_learn(change):
    model = live_model()
    before, _ = actions(model.policy)
    change(model.policy)
    # The copy of a hooked layer has its hooks.
    assert np.abs(actions(model.policy)[0] - before).max() > 1e-4
    if change is not old_spectral_norm:  # computes the weight anew in place: torch has no copy of it
        assert_acts_as_it_is(model.policy)
    model.learn(25)
    assert model._n_updates > 0


@pytest.mark.parametrize("rows", [1, 4])
def test_traces_and_maps_hold_for_other_inputs(rows):
    policy = live_model().policy.requires_grad_(False)  # a trace of a function has them as constants
    obs = th.as_tensor(observations(policy))
    with th.no_grad():
        expected = policy(obs, deterministic=True)
        traced = th.jit.trace(lambda x: policy(x, deterministic=True), obs[:rows], check_trace=False)
        th.testing.assert_close(traced(obs[-rows:]), expected[-rows:], atol=1e-5, rtol=1e-5)
        mapped = th.func.vmap(lambda x: policy(x[None], deterministic=True)[0])(obs)
        th.testing.assert_close(mapped, expected, atol=1e-5, rtol=1e-5)


# --- Copies ---


@pytest.mark.parametrize(
    "make", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), lambda p: AveragedModel(p).module]
)
def test_a_copy_made_while_training_acts_alike_and_stays_as_it_is(make):
    class Copying(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 30:
                self.copied = make(self.model.policy)
                self.expected = actions(self.model.policy)
            return True

    callback = Copying()
    small_model(BoxEnv()).learn(40, callback)
    for got, expected in zip(actions(callback.copied), callback.expected, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("algorithm", [QFlex, SAC])
def test_a_model_can_be_copied_in_a_callback(algorithm):
    class Copying(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 30:
                self.copied = copy.deepcopy(self.model)
            return True

    options = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "policy_kwargs": {"net_arch": [16]}}
    callback = Copying()
    algorithm("MlpPolicy", BoxEnv(), **options).learn(35, callback)
    updates = callback.copied._n_updates
    callback.copied.learn(40)
    assert callback.copied._n_updates > updates > 0


# --- Options ---


class Assign(BaseCallback):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def _on_step(self) -> bool:
        if self.num_timesteps == 30:
            for name, value in self.options.items():
                setattr(self.model, name, value)
        return True


@pytest.mark.parametrize(
    "name, value, bad",
    [
        ("flow_steps", 5, 0),
        ("guidance_steps", 3, 0),
        ("guidance_step_size", 0.5, 0.0),
        ("guidance_dtype", "bfloat16", "float16"),
        ("preconditioner", [1.0, 2.0], [1.0]),
        ("exploration", "ascent", "drift"),
        ("bootstrap", "flow", "drift"),
        ("gamma", 0.5, 1.5),
        ("batch_size", 4, 1),
        ("learning_rate", 1e-5, -1.0),
        ("ent_coef", 0.2, -1.0),
        ("ent_coef", "auto_0.3", "high"),
        ("policy_delay", 3, 0),
        ("gradient_steps", 2, -2),
        ("divergence_factor", None, 0.5),
        ("bad_states", "truncate", "ignore"),
        ("learning_starts", 25, -1),
    ],
)
def test_options_assigned_in_a_callback_are_checked_and_saved(name, value, bad, tmp_path):
    model = small_model(BoxEnv())
    model.learn(40, Assign(**{name: value}))
    model.save(tmp_path / "model")
    assert getattr(model, name) == getattr(QFlex.load(tmp_path / "model"), name) == value
    with pytest.raises(ValueError, match=name):
        setattr(model, name, bad)
    assert getattr(model, name) == value


def test_options_assigned_in_a_callback_act_from_then_on():
    model = small_model(BoxEnv())
    model.learn(40, Assign(learning_rate=1e-5, gradient_steps=3, train_freq=(2, "step"), flow_steps=7))
    assert model.policy.flow_steps == 7
    assert all(optimizer.param_groups[0]["lr"] == 1e-5 for optimizer in model._optimizers())
    assert model._n_updates == 9 + 3 + 5 * 3  # steps 21 to 29; at 30; then every second


@pytest.mark.parametrize("steps", [1, 5])
def test_steps_and_discount_of_returns_follow_assignments(steps):
    model = small_model(BoxEnv(), n_steps=3)
    model.learn(25)
    model.n_steps, model.gamma = steps, 0.5
    model.learn(5, reset_num_timesteps=False)
    assert (model.replay_buffer.n_steps, model.replay_buffer.gamma) == (steps, 0.5)


def test_steps_of_returns_need_their_buffer():
    model = small_model(BoxEnv())
    model.learn(25)
    with pytest.raises(ValueError, match="NStepReplayBuffer"):
        model.n_steps = 3
    with pytest.raises(ValueError, match=r"del model\.replay_buffer"):
        model.buffer_size = 5
    del model.replay_buffer
    model.n_steps = 3
    model.learn(25)
    assert model.replay_buffer.n_steps == 3


def test_the_buffer_may_be_given_up_while_learning():
    class GiveUp(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 30:
                del self.model.replay_buffer
            return True

    model = small_model(BoxEnv())
    model.learn(40, GiveUp())
    assert model.replay_buffer.size() == 10


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predict_refuses_numbers_that_are_not_finite(bad):
    model = small_model(BoxEnv())
    obs = observations(model)
    obs[3, 1] = bad
    with pytest.raises(ValueError, match=r"Entry 1 .* environment 3"):
        model.predict(obs)
    with pytest.raises(ValueError, match="Entry 1 of the observation is"):
        model.predict(obs[3])


# --- All of it in any order ---

STEPS = [*EDITS, hook, "learn", "flow_steps", "exploration", "deepcopy", "save", "export", "predict"]


def take(model: QFlex, step: Any, folder: Any) -> QFlex:
    """One of ``STEPS``."""
    if callable(step):
        step(model.policy)
    elif step == "learn":
        model.learn(22)
    elif step == "flow_steps":
        model.flow_steps += 1
    elif step == "exploration":
        model.exploration = "source" if model.exploration == "flow" else "flow"
    elif step == "deepcopy":
        model.policy = copy.deepcopy(model.policy)
        model._create_aliases()
    elif step == "save":
        expected = actions(model.policy)
        model.save(folder / "model")
        model = QFlex.load(folder / "model", env=BoxEnv(), device="cpu")
        if not has_hooks(model):
            assert expected[0].shape == actions(model.policy)[0].shape
    elif step == "export":
        assert_exports(model, folder)
    else:
        actions(model.policy)
    return model


def has_hooks(model: QFlex) -> bool:
    return any(module._forward_hooks for module in model.policy.modules())


def assert_exports(model: QFlex, folder: Any) -> None:
    if has_hooks(model):
        with pytest.raises(ValueError, match="hook"):
            export_onnx(model, folder / "policy.onnx")
        return
    export_onnx(model, folder / "policy.onnx")
    session = onnx_session(folder / "policy.onnx")
    (exported,) = session.run(None, {session.get_inputs()[0].name: observations(model)})
    np.testing.assert_allclose(exported, actions(model.policy)[0], atol=1e-5)


@settings(max_examples=SEQUENCES, deadline=None, derandomize=True)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=7))
def test_whatever_happens_predictions_definition_and_export_agree(steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    model = live_model()
    for step in steps:
        model = take(model, step, folder)
        assert_acts_as_it_is(model.policy)
    assert_exports(model, folder)
