"""Observation and action spaces that QFlex works with."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers.small_models import BoxEnv, observations, small_model

OBSERVATIONS = {
    "box": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "unbounded float64": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "matrix": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
    "integers": spaces.Box(0, 10, (3,), np.int64),
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([4, 3]),
    "multi-binary": spaces.MultiBinary(5),
    "dict": spaces.Dict(
        {
            "position": spaces.Box(-1.0, 1.0, (3,), np.float32),
            "velocity": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
            "phase": spaces.Discrete(3),
            "contacts": spaces.MultiBinary(2),
        }
    ),
}


@pytest.mark.parametrize("space", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_observation_spaces(space):
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = small_model(BoxEnv(space), policy).learn(25)
    actions, _ = model.predict(observations(model, 4))
    assert actions.shape == (4, 2)
    assert model.predict(space.sample())[0].shape == (2,)


ACTIONS = {
    "unit": spaces.Box(0.0, 1.0, (2,), np.float32),
    "asymmetric": spaces.Box(np.array([-1.0, 0.3], np.float32), np.array([3.0, 0.9], np.float32)),
    "float64": spaces.Box(-0.1, 0.7, (2,), np.float64),
    "float16": spaces.Box(-0.1, 0.7, (2,), np.float16),
    "matrix": spaces.Box(-2.0, 2.0, (2, 3), np.float32),
    "one": spaces.Box(-2.0, 2.0, (1,), np.float32),
}


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("exploration", ["flow", "ascent"])
def test_action_spaces(space, exploration):
    model = small_model(BoxEnv(action_space=space), exploration=exploration).learn(30)
    obs = observations(model)
    for deterministic in (True, False):
        actions, _ = model.predict(obs, deterministic=deterministic)
        assert actions.dtype == space.dtype
        assert all(space.contains(action) for action in actions)
