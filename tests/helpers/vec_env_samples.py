"""Environments for the tests of the vectorised environments; workers import them from here."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

OBSERVATION_SPACES: dict[str, spaces.Space] = {
    "float32": spaces.Box(-10, 10, (3,), np.float32),
    "float64": spaces.Box(-10, 10, (2, 2), np.float64),
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "discrete": spaces.Discrete(7),
    "multi_discrete": spaces.MultiDiscrete([3, 5]),
    "multi_binary": spaces.MultiBinary(4),
    "dict": spaces.Dict({"b": spaces.Box(-1, 1, (2,), np.float32), "a": spaces.Discrete(3)}),
}
ACTION_SPACES: dict[str, spaces.Space] = {
    "box": spaces.Box(-1, 1, (2,), np.float32),
    "discrete": spaces.Discrete(4),
}


class SampleEnv(gym.Env):
    """Draws everything from its own generator, so that one wrong seed or skipped step shows in all that follows."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self, observation: str = "float32", action: str = "box", render_mode: str | None = None):
        self.observation_space = deepcopy(OBSERVATION_SPACES[observation])
        self.action_space = deepcopy(ACTION_SPACES[action])
        self.render_mode = render_mode
        self.level = 0
        self.last_action: Any = None
        self.lock = threading.Lock()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.level = (options or {}).get("level", 0)
        return self.observation_space.sample(), {"level": self.level, "start": self.np_random.random()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        # The action kept from the last step must not have changed under the environment's hands.
        drift = 0.0 if self.last_action is None else float(np.sum(self.last_action))
        self.last_action = action
        reward = self.np_random.normal() + float(np.sum(action)) + drift + self.level
        terminated, truncated = (bool(one) for one in self.np_random.random(2) < 0.15)
        return self.observation_space.sample(), reward, terminated, truncated, self._info()

    def _info(self) -> dict[str, Any]:
        solved = bool(self.np_random.random() < 0.5)
        effort = np.float32(self.np_random.random())
        return {"solved": solved, "steps": 3, "rwd_dict": {"effort": effort}, "obs_dict": {"large": np.zeros(50)}}

    def render(self) -> Any:
        return np.full((4, 4, 3), self.level, dtype=np.uint8)

    def scaled(self, factor: float, offset: float = 0.0) -> float:
        return factor * self.level + offset

    def has_imported(self, module: str) -> bool:
        return module in sys.modules

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise KeyError("no such thing")


class FailingEnv(SampleEnv):
    """Fails as told at the third step."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.count = 0
        if how == "construct":
            raise ValueError("bad argument")

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if self.how == "reset":
            raise ValueError("cannot reset")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.count += 1
        if self.count == 3:
            self._fail()
        return super().step(action)

    def _fail(self) -> None:
        if self.how == "raise":
            raise AssertionError("joint angle is NaN")
        if self.how == "unpicklable":
            raise UnpicklableError("holds a local function")
        if self.how == "exit":
            raise SystemExit(3)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)


class BulkyEnv(SampleEnv):
    """Its infos fill every pipe. The file tells how often it was closed."""

    def __init__(self, file: Path):
        super().__init__()
        self.file = file

    def _info(self) -> dict[str, Any]:
        return {"bulk": np.zeros(300_000)}

    def close(self) -> None:
        with self.file.open("a") as file:
            file.write("closed\n")


class SlowEnv(SampleEnv):
    """Takes its time to be built, and tells who is building."""

    def __init__(self, file: Path):
        super().__init__()
        with file.open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.3)


class UnpicklableError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def sample_envs(n_envs: int, **kwargs: Any) -> list[Callable[[], gym.Env]]:
    return [lambda: SampleEnv(**kwargs) for _ in range(n_envs)]


def failing_envs(n_envs: int, at: int, how: str) -> list[Callable[[], gym.Env]]:
    return [(lambda: FailingEnv(how)) if index == at else SampleEnv for index in range(n_envs)]


def slow_envs(n_envs: int, file: Path) -> list[Callable[[], gym.Env]]:
    return [lambda: SlowEnv(file) for _ in range(n_envs)]
