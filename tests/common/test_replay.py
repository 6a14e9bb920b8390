"""Which replay buffers QFlex takes, what they sample, and which combinations it refuses."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers.small_models import BoxEnv, bit_flipping, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex


class OwnNStepBuffer(NStepReplayBuffer):
    """A user's subclass."""


@pytest.mark.parametrize(
    "given",
    [
        {"n_steps": 3},
        {"n_steps": 3, "replay_buffer_class": NStepReplayBuffer},
        {"n_steps": 3, "replay_buffer_class": OwnNStepBuffer, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.9}},
        {"replay_buffer_class": OwnNStepBuffer, "replay_buffer_kwargs": {"n_steps": 3}},
    ],
    ids=["default", "class", "subclass", "kwargs"],
)
def test_n_step_returns(given, tmp_path):
    model = small_model(make_vec_env(BoxEnv, 2), gamma=0.9, **given).learn(40)
    buffer = model.replay_buffer
    assert isinstance(buffer, given.get("replay_buffer_class", NStepReplayBuffer))
    assert (buffer.n_steps, buffer.gamma) == (3, 0.9)
    sample = buffer._get_samples(np.zeros(4, dtype=int))
    # Far from the end of an episode: three rewards, and 0.9^3 in front of the next value.
    np.testing.assert_allclose(sample.discounts.numpy().ravel(), 0.9**3, rtol=1e-6)
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="without its replay buffer"):
        QFlex.load(tmp_path / "model", env=make_vec_env(BoxEnv, 2), device="cpu").learn(24)


class CountingEnv(BoxEnv):
    """The observation is the number of steps in the episode."""

    def reset(self, **kwargs):
        return super().reset(**kwargs)[0] * 0, {}

    def step(self, action):
        _, reward, terminated, truncated, info = super().step(action)
        return np.full(3, self.n_steps, np.float32), reward, terminated, truncated, info


def test_memory_saving_buffer_counts_time_limits_as_terminations():
    # Without the second option it is refused; who passes it has been told.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small_model(
            CountingEnv(), optimize_memory_usage=True, replay_buffer_kwargs={"handle_timeout_termination": False}
        )
    model.learn(35)
    sample = model.replay_buffer.sample(200)
    last = sample.observations[:, 0] == 9
    assert bool(last.any())
    np.testing.assert_array_equal(sample.dones[:, 0].bool().numpy(), last.numpy())
    ordinary = small_model(CountingEnv()).learn(35).replay_buffer.sample(200)
    assert float(ordinary.dones.sum()) == 0.0


REFUSED = {
    "n-step, Dict": (bit_flipping, {"n_steps": 2}, "n_steps=2 works with Box observations"),
    "n-step, one-step class": (BoxEnv, {"n_steps": 2, "replay_buffer_class": ReplayBuffer}, "would ignore it"),
    "n_steps twice": (BoxEnv, {"n_steps": 2, "replay_buffer_kwargs": {"n_steps": 3}}, "disagree"),
    "gamma twice": (BoxEnv, {"n_steps": 2, "replay_buffer_kwargs": {"gamma": 0.5}}, "disagree"),
    "n_steps out of range": (BoxEnv, {"n_steps": 0}, "n_steps must be an integer of at least 1"),
    "n-step, HER": (bit_flipping, {"n_steps": 2, "replay_buffer_class": HerReplayBuffer}, "n_steps=2"),
    "Dict buffer, Box": (BoxEnv, {"replay_buffer_class": DictReplayBuffer}, "Box observations need"),
    "Box buffer, Dict": (bit_flipping, {"replay_buffer_class": ReplayBuffer}, "Dict observations need"),
    "no class": (BoxEnv, {"replay_buffer_class": "ReplayBuffer"}, "must be a subclass"),
    "memory, time limits": (BoxEnv, {"optimize_memory_usage": True}, "handle_timeout_termination"),
    "memory, n-step": (BoxEnv, {"optimize_memory_usage": True, "n_steps": 2}, "one-step returns"),
    "memory, Dict": (bit_flipping, {"optimize_memory_usage": True}, "Box observations and one-step"),
}


@pytest.mark.parametrize("env, given, message", REFUSED.values(), ids=REFUSED)
def test_refused_at_construction_and_at_load(env, given, message, tmp_path):
    env = env()
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(ValueError, match=message):
        small_model(env, policy, **given)
    small_model(env, policy).save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        QFlex.load(tmp_path / "model", device="cpu", **given)


@pytest.mark.parametrize(
    "other, message",
    [
        ({"n_envs": 2}, "filled by 2 environments"),
        ({"env": "Pendulum-v1"}, "load a buffer of the same task"),
        ({"n_steps": 3}, "n_steps=3"),
        ({"n_steps": 2, "gamma": 0.5}, "gamma=0.5"),
    ],
)
def test_loaded_buffer_of_another_model_is_refused(other, message, tmp_path):
    other = dict(other)
    env = make_vec_env(other.pop("env", BoxEnv), other.pop("n_envs", 1))
    small_model(env, **other).learn(4).save_replay_buffer(tmp_path / "buffer")
    model = small_model(BoxEnv(), n_steps=2).learn(6)
    before = model.replay_buffer
    with pytest.raises(ValueError, match=message):
        model.load_replay_buffer(tmp_path / "buffer")
    assert model.replay_buffer is before


def test_buffer_is_allocated_by_learn():
    model = small_model(gym.make("Pendulum-v1"))
    assert model._replay_buffer is None
    model.learn(1)
    assert isinstance(model.replay_buffer, ReplayBuffer)
