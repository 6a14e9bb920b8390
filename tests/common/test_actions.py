"""Between [-1, 1] inside and the Box outside: what is stored is what was executed."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, small_model
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

BOXES = {
    "unit": spaces.Box(0.0, 1.0, (2,), np.float32),
    "asymmetric": spaces.Box(np.array([-1.0, 0.3], np.float32), np.array([3.0, 0.9], np.float32)),
    "float64": spaces.Box(-0.1, 0.7, (2,), np.float64),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("noise", [None, NormalActionNoise(np.zeros(2), np.full(2, 0.3), dtype=np.float64)])
def test_stored_actions_are_the_executed_ones(box, noise):
    env = BoxEnv(action_space=box)
    model = small_model(DummyVecEnv([lambda: env]), action_noise=noise).learn(40)
    stored = model.replay_buffer.actions[:40, 0]
    assert stored.dtype == np.float32 and np.abs(stored).max() <= 1.0
    executed = np.stack(env.executed)
    assert executed.dtype == box.dtype
    assert all(box.contains(action) for action in executed)
    np.testing.assert_array_equal(model.policy.unscale_action(stored), executed)


def test_ends_of_the_box_are_reached_and_not_exceeded():
    low, high = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 1000)).astype(np.float32)
    low, high = np.minimum(low, high), np.maximum(low, high) + np.float32(1e-3)
    policy = small_model(BoxEnv(action_space=spaces.Box(low, high))).policy
    np.testing.assert_array_equal(policy.unscale_action(np.full(1000, -1.0, np.float32)), low)
    np.testing.assert_array_equal(policy.unscale_action(np.ones(1000, np.float32)), high)
    np.testing.assert_array_equal(policy.scale_action(high), np.ones(1000, np.float32))
    inside = np.linspace(-1.0, 1.0, 1000, dtype=np.float32)
    np.testing.assert_allclose(policy.scale_action(policy.unscale_action(inside)), inside, atol=1e-4)


def test_known_values():
    policy = small_model(BoxEnv(action_space=BOXES["asymmetric"])).policy
    np.testing.assert_allclose(policy.unscale_action(np.array([0.5, 0.0])), [2.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(policy.scale_action(np.array([0.0, 0.45])), [-0.5, -0.5], rtol=1e-6)


def test_actions_beyond_the_box_are_clamped():
    model = small_model(BoxEnv(action_space=BOXES["unit"])).learn(25)
    with th.no_grad():
        model.field.net[-1].bias.fill_(50.0)
    model.policy.pop_counts()
    actions, _ = model.predict(np.zeros((5, 3), np.float32))
    np.testing.assert_array_equal(actions, np.ones((5, 2), np.float32))
    assert model.policy.pop_counts() == {"clamped_share": 1.0}
    assert model.policy.pop_counts() == {"clamped_share": 0.0}
