"""Situations of real users around a model, beside SAC in the same situation where SAC has it too."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, ReachEnv, observations, small_model
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv
from torch import nn

from sb3_qflex import QFlex, QFlexPolicy
from sb3_qflex.vec_env import WorkerVecEnv

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "learning_starts": 20, "buffer_size": 200, "seed": 0}
OBSERVATIONS = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 3)).astype(np.float32)


def trained(algorithm: Any, env: Any = None, **options: Any) -> Any:
    model = algorithm("MlpPolicy", env or BoxEnv(), **{**SMALL, "device": "cpu", "batch_size": 8, **options})
    return model.learn(30)


@pytest.mark.parametrize("algorithm", [QFlex, SAC])
def test_inference_mode(algorithm: Any) -> None:
    model, file = trained(algorithm), io.BytesIO()
    expected = model.predict(OBSERVATIONS, deterministic=True)[0]
    model.save(file)
    with th.inference_mode():
        inside = algorithm.load(file, device="cpu")
        np.testing.assert_array_equal(inside.predict(OBSERVATIONS, deterministic=True)[0], expected)
        np.testing.assert_allclose(model.predict(OBSERVATIONS[0], deterministic=True)[0], expected[0], atol=1e-6)
    # It acts outside, on batches and on one observation, and the model from outside goes on learning.
    np.testing.assert_allclose(inside.predict(OBSERVATIONS, deterministic=True)[0], expected, atol=1e-6)
    np.testing.assert_allclose(inside.predict(OBSERVATIONS[1], deterministic=True)[0], expected[1], atol=1e-6)
    model.learn(10, reset_num_timesteps=False)
    assert model._n_updates > 10


@pytest.mark.parametrize("exploration", ["flow", "source", "ascent"])
def test_inference_mode_with_networks_that_do_not_fold(exploration: str) -> None:
    policy_kwargs = {"net_arch": [8], "activation_fn": nn.Tanh}
    model = trained(QFlex, exploration=exploration, policy_kwargs=policy_kwargs)
    expected = model.predict(OBSERVATIONS, deterministic=True)[0]
    with th.inference_mode():
        np.testing.assert_array_equal(model.predict(OBSERVATIONS, deterministic=True)[0], expected)


@pytest.mark.parametrize("exploration", ["flow", "source", "ascent"])
@pytest.mark.parametrize("ent_coef", [0.0, "auto"])
def test_another_default_dtype_after_the_model_was_built(exploration: str, ent_coef: Any) -> None:
    options = {"exploration": exploration, "ent_coef": ent_coef}
    model = trained(QFlex, **options)
    expected = model.predict(OBSERVATIONS, deterministic=True)[0]
    th.set_default_dtype(th.float64)
    try:
        np.testing.assert_allclose(model.predict(OBSERVATIONS, deterministic=True)[0], expected, atol=1e-6)
        model.learn(10, reset_num_timesteps=False)
        # SAC cannot be built so: SB3 makes float32 of every observation.
        assert trained(QFlex, **options).predict(OBSERVATIONS)[0].dtype == np.float32
    finally:
        th.set_default_dtype(th.float32)


@pytest.mark.parametrize("algorithm", [QFlex, SAC])
def test_the_logger_has_the_losses_after_train(algorithm: Any) -> None:
    values = trained(algorithm).logger.name_to_value
    assert {"train/critic_loss", "train/actor_loss", "train/n_updates", "train/learning_rate"} <= values.keys()
    assert values["train/n_updates"] == 10


class Widened(QFlex):
    def __init__(self, *args: Any, my_option: int = 1, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.my_option = my_option


class Narrowed(QFlex):
    def __init__(self, policy: Any, env: Any, my_option: int = 1, _init_setup_model: bool = True, **kwargs: Any):
        super().__init__(policy, env, _init_setup_model=_init_setup_model, **kwargs)
        self.my_option = my_option


@pytest.mark.parametrize("algorithm", [Widened, Narrowed])
def test_options_of_a_subclass(algorithm: Any) -> None:
    file = io.BytesIO()
    algorithm("MlpPolicy", BoxEnv(), my_option=3, flow_steps=4, **SMALL).save(file)
    assert algorithm.load(file).my_option == 3
    loaded = algorithm.load(file, my_option=5, flow_steps=2)
    assert (loaded.my_option, loaded.flow_steps) == (5, 2)
    with pytest.raises(TypeError, match="no option 'my_opton', did you mean 'my_option'"):
        algorithm.load(file, my_opton=5)
    with pytest.raises(TypeError, match=f"{algorithm.__name__} has no option 'flow_step', did you mean 'flow_steps'"):
        algorithm("MlpPolicy", BoxEnv(), flow_step=2)


@pytest.mark.parametrize("order", [(QFlex, SAC), (SAC, QFlex)], ids=["QFlex first", "SAC first"])
def test_one_dict_of_policy_arguments_for_several_algorithms(order: Any) -> None:
    shared = {"net_arch": [8]}
    for algorithm in order:
        algorithm("MlpPolicy", BoxEnv(), buffer_size=10, policy_kwargs=shared)
    with pytest.raises(TypeError, match="policy_kwargs has no option 'use_sde': gSDE is not supported"):
        QFlex("MlpPolicy", BoxEnv(), policy_kwargs={"use_sde": True})


def test_use_sde_is_accepted_where_it_is_false() -> None:
    file = io.BytesIO()
    small_model(BoxEnv(), use_sde=False).save(file)
    QFlex.load(file, use_sde=False)
    with pytest.raises(TypeError, match="gSDE is not supported"):
        small_model(BoxEnv(), use_sde=True)
    with pytest.raises(TypeError, match="gSDE is not supported"):
        QFlex.load(file, sde_sample_freq=4)


@pytest.mark.parametrize("algorithm", [QFlex, SAC])
@pytest.mark.parametrize("exploration", ["flow", "source"])
def test_a_policy_has_a_gradient_to_the_observation(algorithm: Any, exploration: str) -> None:
    options = {"exploration": exploration} if algorithm is QFlex else {}
    policy = trained(algorithm, **options).policy
    x = th.as_tensor(OBSERVATIONS).requires_grad_(True)
    (gradient,) = th.autograd.grad(policy(x, deterministic=True).sum(), x)
    assert gradient.abs().sum() > 0
    mean, log_std, further = policy.actor.get_action_dist_params(x)
    assert mean.shape == log_std.shape == (5, 2) and further == {}


def test_layers_where_nothing_was_said() -> None:
    given = [({}, [256, 256, 256]), ({"net_arch": None}, [256, 256, 256]), ({"net_arch": {"pi": [4]}}, {"pi": [4]})]
    for kwargs, expected in given:
        assert QFlex("MlpPolicy", BoxEnv(), policy_kwargs=kwargs).policy.net_arch == expected


@pytest.mark.parametrize("rows", [1, 3])
def test_export_holds_for_other_inputs(rows: int) -> None:
    policy = trained(QFlex).policy

    class Acting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, obs: th.Tensor) -> th.Tensor:
            return self.policy(obs, deterministic=True)

    exported = th.export.export(Acting().eval(), (th.zeros(rows, 3),), strict=False).module()
    x = th.as_tensor(OBSERVATIONS[:rows])
    th.testing.assert_close(exported(x), policy(x, deterministic=True), atol=1e-5, rtol=1e-5)


def test_hooks_on_all_modules_are_called() -> None:
    policy, seen = trained(QFlex).policy, set()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.add(type(module).__name__))
    try:
        policy.predict(OBSERVATIONS[0])
    finally:
        handle.remove()
    assert {"Linear", "ReLU", "BatchRenorm"} <= seen


class Duel(BoxEnv):
    """Its opponent is a policy that is sent to it."""

    opponent: Any = None

    def meet(self, policy: Any) -> None:
        self.opponent = policy

    def answer(self, observation: np.ndarray) -> np.ndarray:
        return self.opponent.predict(observation, deterministic=True)[0]


class Meets(BaseCallback):
    def _on_step(self) -> bool:
        if self.n_calls % 10 == 0:
            self.training_env.env_method("meet", self.model.policy)
        return True


@pytest.mark.parametrize("vec_env", [WorkerVecEnv, SubprocVecEnv])
def test_a_policy_in_a_worker_acts_as_here(vec_env: Any) -> None:
    env = make_vec_env(Duel, 2, seed=0, vec_env_cls=vec_env, vec_env_kwargs={"start_method": "fork"})
    try:
        model = QFlex("MlpPolicy", env, **{**SMALL, "device": "cpu", "batch_size": 8}).learn(60, Meets())
        env.env_method("meet", model.policy)
        for observation in OBSERVATIONS:
            there = env.env_method("answer", observation)[1]
            np.testing.assert_allclose(there, model.predict(observation, deterministic=True)[0], atol=1e-6)
    finally:
        env.close()


def test_options_assigned_on_the_policy_are_those_of_the_model() -> None:
    model, file = small_model(BoxEnv()), io.BytesIO()
    model.policy.flow_steps, model.policy.exploration = 5, "source"
    assert (model.flow_steps, model.exploration) == (5, "source")
    with pytest.raises(ValueError, match="flow_steps must be an integer of at least 1, not 0"):
        model.policy.flow_steps = 0
    model.save(file)
    loaded = QFlex.load(file)
    assert (loaded.flow_steps, loaded.policy.flow_steps, loaded.exploration) == (5, 5, "source")
    assert copy.deepcopy(model.policy).flow_steps == 5


def test_dict_observations_follow_edits_and_refuse_nan() -> None:
    model = small_model(ReachEnv(), "MultiInputPolicy")
    obs = observations(model)
    for _ in range(3):
        model.predict(obs, deterministic=True)
    for parameter in model.policy.parameters():
        parameter.data.mul_(0.5)
    fresh = QFlexPolicy(
        model.observation_space, model.action_space, lambda _: 1e-3, net_arch=[16], flow_steps=model.flow_steps
    )
    fresh.load_state_dict(model.policy.state_dict())
    np.testing.assert_allclose(
        model.predict(obs, deterministic=True)[0], fresh.predict(obs, deterministic=True)[0], atol=1e-6
    )
    obs["achieved_goal"][1, 0] = np.nan
    with pytest.raises(ValueError, match="Entry 0 of the observation 'achieved_goal' of environment 1 is nan"):
        model.predict(obs)
