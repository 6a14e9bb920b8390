"""Without any reward the bonus alone leads further than noise on actions does."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_qflex import MaxInfoCrossQ, MaxInfoSAC


class Field(gym.Env):
    """A point that starts in the middle of a square, moved by the action; nothing is rewarded."""

    observation_space = spaces.Box(-3.0, 3.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.position, self.n_steps = np.zeros(2, np.float32), 0
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.n_steps += 1
        self.position = np.clip(self.position + 0.2 * action, -3.0, 3.0).astype(np.float32)
        return self.position, 0.0, False, self.n_steps >= 40, {}


def cells(algorithm: Any, seed: int, info_coef: str | float) -> int:
    """How many of the 144 squares with sides of 0.5 the last 600 of 1500 steps visit."""
    nets = {"ensemble_arch": [32, 32], "policy_kwargs": {"net_arch": [32, 32]}, "buffer_size": 5000}
    rates = {"learning_rate": 1e-3, "ensemble_lr": 1e-3, "learning_starts": 200, "batch_size": 64}
    model = algorithm("MlpPolicy", Field(), seed=seed, device="cpu", info_coef=info_coef, **rates, **nets).learn(1500)
    positions = model.replay_buffer.observations[: model.replay_buffer.pos, 0][-600:]
    return len(np.unique(np.floor(positions / 0.5), axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [MaxInfoSAC, MaxInfoCrossQ])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_visits_more_of_a_field_without_rewards(algorithm: Any, seed: int) -> None:
    assert cells(algorithm, seed, "auto") > 1.5 * cells(algorithm, seed, 0.0)
