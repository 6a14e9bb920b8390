"""MyoSuite's tasks under the paper's names: MyoSuite's numbers unchanged, success and the 2.x map added."""

import gymnasium as gym
import numpy as np
import pytest
from envs_assets import needs

pytestmark = needs("MyoHandPenTwirl-v0")

PAIRS = [("MyoHandPenTwirl-v0", "myoHandPenTwirlRandom-v0"), ("MyoLegWalk-v0", "myoLegWalk-v0")]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_numbers_are_myosuites_own(ours, theirs):
    one, other = gym.make(ours), gym.make(theirs)
    np.testing.assert_array_equal(one.reset(seed=4)[0], other.reset(seed=4)[0])
    one.action_space.seed(0)
    for _ in range(10):
        action = one.action_space.sample()
        expected, got = other.step(action), one.step(action)
        np.testing.assert_array_equal(got[0], expected[0])
        assert got[1:4] == expected[1:4]
        assert got[4]["is_success"] == bool(expected[4]["solved"])
        assert got[4]["diverged"] is False
        if got[2] or got[3]:
            break
    assert one.spec.max_episode_steps == other.spec.max_episode_steps


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_info_holds_scalars_only(ours, theirs):
    env = gym.make(ours)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    assert all(np.isscalar(value) for value in info.values())


def test_excitations_of_both_action_maps():
    for entry_id, action, excitation in (
        ("MyoLegWalk-v0", 0.25, 0.25),
        ("MyoLegWalkSigmoid-v0", 0.0, 1 / (1 + np.exp(2.5))),
        ("MyoLegWalkSigmoid-v0", 0.5, 0.5),
    ):
        env = gym.make(entry_id)
        env.reset(seed=0)
        env.step(np.full(80, action, dtype=np.float32))
        np.testing.assert_allclose(env.unwrapped.data.ctrl, excitation, rtol=1e-5)


def test_pen_episode_is_truncated_after_fifty_steps_unless_it_drops():
    env = gym.make("MyoHandPenTwirl-v0")
    env.reset(seed=0)
    steps, done = 0, False
    while not done:
        _, _, terminated, truncated, info = env.step(np.zeros(39, dtype=np.float32))
        steps += 1
        done = terminated or truncated
    assert truncated is (steps == 50)
    assert terminated is (info["drop"] != 0) or steps == 50
