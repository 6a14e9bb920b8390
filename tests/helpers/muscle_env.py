"""An environment that feels muscles, without a simulator."""

from typing import Any

import numpy as np
from gymnasium import spaces
from helpers.small_models import BoxEnv

#: Lopsided, so that an action and its place in the box differ.
MUSCLE_BOX = spaces.Box(np.array([0.0, -1.0, -2.0], np.float32), np.array([1.0, 1.0, 0.0], np.float32))


class MuscleEnv(BoxEnv):
    """Three muscles whose lengths follow their actions, and episodes of ten steps."""

    def __init__(self) -> None:
        super().__init__(action_space=MUSCLE_BOX)
        self.lengths = np.full(3, 0.2)

    def _sensors(self) -> dict[str, np.ndarray]:
        return {"actuator_length": self.lengths.copy(), "actuator_force": -10.0 * self.lengths}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        observation = self.observation_space.sample()
        self.lengths = 0.2 + 0.05 * np.abs(observation.astype(np.float64))
        return observation, self._sensors()

    def step(self, action: np.ndarray) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self.lengths = 0.9 * self.lengths + 0.02 * np.asarray(action, np.float64) + 0.01 * np.abs(observation)
        return observation, reward, terminated, truncated, {**info, **self._sensors()}
