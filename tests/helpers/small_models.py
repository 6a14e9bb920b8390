"""Models small enough for a test, and how to compare two of them."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import BitFlippingEnv

from sb3_qflex import QFlex

SMALL = {
    "learning_starts": 20,
    "batch_size": 8,
    "buffer_size": 2000,
    "flow_steps": 2,
    "guidance_steps": 2,
    "seed": 0,
    "device": "cpu",
}


def small_model(env: Any = "Pendulum-v1", policy: Any = "MlpPolicy", **kwargs: Any) -> QFlex:
    """QFlex with one hidden layer of 16 units, and whatever else is asked for."""
    policy_kwargs = {"net_arch": [16], **kwargs.pop("policy_kwargs", {})}
    return QFlex(policy, env, **{**SMALL, "policy_kwargs": policy_kwargs, **kwargs})


class BoxEnv(gym.Env):
    """Any spaces: random observations, the mean action as reward, episodes cut after ten steps."""

    def __init__(self, observation_space: spaces.Space | None = None, action_space: spaces.Space | None = None):
        # An empty Dict space counts as false.
        self.observation_space = (
            spaces.Box(-1.0, 1.0, (3,), np.float32) if observation_space is None else observation_space
        )
        self.action_space = action_space or spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.executed: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if seed is not None:
            self.observation_space.seed(seed)
        self.n_steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray):
        self.executed.append(np.array(action))
        self.n_steps += 1
        return self.observation_space.sample(), float(np.mean(action)), False, self.n_steps >= 10, {}


class ReachEnv(gym.Env):
    """A point in the plane that shall come near a goal; the action is its velocity."""

    def __init__(self) -> None:
        box = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Dict({"observation": box, "achieved_goal": box, "desired_goal": box})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observation(self) -> dict[str, np.ndarray]:
        return {"observation": self.position, "achieved_goal": self.position, "desired_goal": self.goal}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1.0, 1.0, (2, 2)).astype(np.float32)
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.n_steps += 1
        self.position = np.clip(self.position + 0.2 * action, -1.0, 1.0).astype(np.float32)
        reward = float(self.compute_reward(self.position, self.goal, {}))
        return self._observation(), reward, False, self.n_steps >= 10, {}

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        return -(np.linalg.norm(achieved_goal - desired_goal, axis=-1) > 0.2).astype(np.float32)


def bit_flipping() -> BitFlippingEnv:
    return BitFlippingEnv(n_bits=4, continuous=True)


def parameters(model: QFlex) -> dict[str, th.Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def assert_same(first: dict[str, th.Tensor], second: dict[str, th.Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert th.equal(value, second[name]), name


def observations(model: QFlex, n: int = 16) -> Any:
    """Samples of the observation space, the same for equal models."""
    model.observation_space.seed(1)
    samples = [model.observation_space.sample() for _ in range(n)]
    if isinstance(samples[0], dict):
        return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
    return np.stack(samples)
