"""Redundant actuators and the excitation map of MyoSuite 2.x, on environments that record what reaches them."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor

import sb3_qflex.envs  # noqa: F401 registers the ids
from sb3_qflex.envs import AliveBonus, OverActuated, SigmoidExcitation, SparseReward


class Recorder(gym.Env):
    """Remembers the last action."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def __init__(self, action_space: spaces.Space) -> None:
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.received = action
        return np.zeros(1, dtype=np.float32), 0.0, False, False, {}


def box(low, high, dtype=np.float32):
    return spaces.Box(np.array(low, dtype=dtype), np.array(high, dtype=dtype), dtype=dtype)


def test_each_actuator_gets_the_mean_of_its_copies():
    env = OverActuated(Recorder(box([-1, 0], [1, 2])), copies=3)
    np.testing.assert_array_equal(env.action_space.low, [-1, -1, -1, 0, 0, 0])
    np.testing.assert_array_equal(env.action_space.high, [1, 1, 1, 2, 2, 2])
    env.step(np.array([0.0, 0.3, 0.6, 1.0, 2.0, 0.0], dtype=np.float32))
    np.testing.assert_allclose(env.unwrapped.received, [0.3, 1.0], rtol=1e-6)
    assert env.unwrapped.received.dtype == np.float32


def test_actions_are_float32_over_a_float64_box():
    env = OverActuated(Recorder(box([-1], [1], np.float64)), copies=2)
    assert env.action_space.dtype == np.float32


def test_one_copy_changes_nothing():
    env = OverActuated(Recorder(box([-1, 0], [1, 2])), copies=1)
    action = np.array([0.25, 1.5], dtype=np.float32)
    env.step(action)
    np.testing.assert_array_equal(env.unwrapped.received, action)


def test_over_actuated_environment_is_rebuilt_from_its_spec():
    env = OverActuated(gym.make("PlanarChain-v0", n_links=2), copies=4)
    again = gym.make(pickle.loads(pickle.dumps(env.spec)))
    assert again.action_space.shape == (8,)


@pytest.mark.parametrize("copies", [0, -2, 1.5, True])
def test_number_of_copies_is_checked(copies):
    with pytest.raises(ValueError, match=f"copies={copies}"):
        OverActuated(Recorder(box([-1], [1])), copies=copies)


@pytest.mark.parametrize("wrapper", [lambda env: OverActuated(env, 2), SigmoidExcitation])
@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(0, 1, (2, 2))])
def test_other_action_spaces_are_refused(wrapper, space):
    with pytest.raises(ValueError, match="one-dimensional Box"):
        wrapper(Recorder(space))


def test_sigmoid_map_at_known_actions():
    env = SigmoidExcitation(Recorder(box([0, 0, 0, 0], [1, 1, 1, 1])))
    np.testing.assert_array_equal(env.action_space.low, -np.ones(4))
    env.step(np.array([0.0, 0.5, 1.0, -7.0], dtype=np.float32))
    # 1 / (1 + e^2.5), a half, 1 / (1 + e^-2.5), and -7 clipped to -1: 1 / (1 + e^7.5).
    np.testing.assert_allclose(env.unwrapped.received, [0.0758582, 0.5, 0.9241418, 0.000552779], rtol=1e-5)


def test_sigmoid_map_is_refused_before_other_bounds():
    with pytest.raises(ValueError, match=r"excitations in \[0, 1\]"):
        SigmoidExcitation(Recorder(box([-1], [1])))


class Informed(Recorder):
    """A step gives what info is asked for, and reward -3."""

    def __init__(self):
        super().__init__(box([-1], [1]))
        self.info = {}

    def step(self, action):
        return np.zeros(1, dtype=np.float32), -3.0, False, False, dict(self.info)


@pytest.mark.parametrize(
    "options, info, reward",
    [
        ({}, {"is_success": True}, 1.0),
        ({}, {"is_success": np.False_}, 0.0),
        ({"key": "height", "threshold": 0.5}, {"height": 0.5}, 1.0),
        ({"key": "height", "threshold": 0.5}, {"height": 0.4}, 0.0),
        ({"key": "solved"}, {"diverged": True}, 0.0),
    ],
)
def test_sparse_reward_is_one_for_success_alone(options, info, reward):
    env = SparseReward(Informed(), **options)
    env.unwrapped.info = info
    _, given, _, _, given_info = env.step(np.zeros(1))
    assert given == reward
    assert given_info == {**info, "dense_reward": -3.0}


def test_sparse_reward_names_what_is_there_instead():
    env = SparseReward(Informed(), key="solved")
    env.unwrapped.info = {"distance": 1.0}
    with pytest.raises(KeyError, match=r"solved.*distance"):
        env.step(np.zeros(1))
    with pytest.raises(ValueError, match="threshold"):
        SparseReward(Informed(), threshold=float("nan"))


def test_sparse_reward_is_recreated_from_its_spec():
    env = SparseReward(gym.make("PlanarChain-v0"), key="distance", threshold=-1.0)
    again = gym.make(env.spec)
    assert (again.get_wrapper_attr("key"), again.get_wrapper_attr("threshold")) == ("distance", -1.0)


def test_alive_bonus_is_added_to_each_step_outside_of_the_monitor():
    env = AliveBonus(Monitor(TimeLimit(Informed(), 2)), bonus=10.0)
    env.unwrapped.info = {}
    env.reset()
    assert env.step(np.zeros(1))[1] == 7.0
    _, reward, _, truncated, info = env.step(np.zeros(1))
    assert (reward, truncated, info["episode"]["r"]) == (7.0, True, -6.0)


@pytest.mark.parametrize("bonus", [float("nan"), float("inf"), "10", True, None])
def test_alive_bonus_refuses_what_is_no_finite_number(bonus):
    with pytest.raises(ValueError, match=r"bonus=.*finite number"):
        AliveBonus(Informed(), bonus=bonus)


def test_alive_bonus_is_recreated_from_its_spec():
    again = gym.make(AliveBonus(gym.make("PlanarChain-v0"), bonus=1.5).spec)
    assert again.get_wrapper_attr("bonus") == 1.5
