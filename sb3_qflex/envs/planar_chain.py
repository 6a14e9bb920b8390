"""A planar chain of n links, the smallest task on which isotropic exploration fails as n grows.

Link i has length 1/n and the absolute angle θ_i, which action i turns; the tip is the mean of the n unit vectors
(cos θ_i, sin θ_i). Independent noise of variance σ² on the angles moves the tip with variance at most σ²/n, so a
policy that explores each actuator on its own explores almost nothing of the task once n is large.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_qflex.envs.reset_options import checked_options

MAX_EPISODE_STEPS = 50
MAX_TURN = 0.2  # rad per step: half a turn of the whole chain takes 16 of the 50 steps
TARGET_RADII = (0.3, 0.9)  # the unit disc is reachable; its rim and centre pin down every angle
SUCCESS_DISTANCE = 0.05


def check_links(n_links: int) -> int:
    """
    :param n_links: Number of links, at least 1
    :return: ``n_links``
    :raises ValueError: If it is not a positive integer
    """
    if isinstance(n_links, bool) or not isinstance(n_links, (int, np.integer)) or n_links < 1:
        raise ValueError(f"n_links={n_links!r}: the chain needs a positive integer number of links")
    return int(n_links)


def observation_space(n_links: int) -> spaces.Box:
    """
    :param n_links: Number of links
    :return: Box of 2n + 4 float32: cosines and sines of the angles, tip, target minus tip. The tip lies in the unit
        disc, the difference of two of its points within a radius of 2
    """
    high = np.ones(2 * n_links + 4, dtype=np.float32)
    high[-2:] = 2.0
    return spaces.Box(-high, high, dtype=np.float32)


def action_space(n_links: int) -> spaces.Box:
    """
    :param n_links: Number of links
    :return: Box of n float32 in [-1, 1]; 1 turns a link by ``MAX_TURN`` in one step
    """
    return spaces.Box(-1.0, 1.0, (n_links,), dtype=np.float32)


def sample_start(rng: np.random.Generator, n_links: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    A straight chain in a uniform direction and a target with uniform direction and radius.

    :param rng: Generator to draw from
    :param n_links: Number of links
    :return: Angles (n,) in rad and target (2,)
    """
    heading, direction = rng.uniform(-np.pi, np.pi, size=2)
    radius = rng.uniform(*TARGET_RADII)
    return np.full(n_links, heading), radius * np.array([np.cos(direction), np.sin(direction)])


def turn(angles: NDArray[np.float64], action: NDArray[np.floating]) -> NDArray[np.float64]:
    """
    :param angles: (..., n) in rad
    :param action: (..., n); values outside [-1, 1] are clipped
    :return: Angles one step later
    """
    return angles + MAX_TURN * np.clip(action, -1.0, 1.0)


def observe(
    angles: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """
    :param angles: (..., n) in rad
    :param target: (..., 2)
    :return: Observations (..., 2n + 4) and the distance (...) of the tip from the target
    """
    cosines, sines = np.cos(angles), np.sin(angles)
    tip = np.stack([cosines.mean(axis=-1), sines.mean(axis=-1)], axis=-1)
    error = target - tip
    observation = np.concatenate([cosines, sines, tip, error], axis=-1).astype(np.float32)
    return observation, np.sqrt(np.square(error).sum(axis=-1))


class PlanarChain(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """
    Bring the tip of an n-link chain to a target in the plane; reward: minus the distance.

    Every episode is truncated after 50 steps by the registered time limit. ``info["is_success"]`` says whether
    the tip is within 0.05 of the target, ``info["distance"]`` how far it is.

    :param n_links: Number of links = number of actions, at least 1
    :param render_mode: ``"rgb_array"`` or None
    :raises ValueError: If ``n_links`` is not a positive integer or the render mode is unknown
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012

    def __init__(self, n_links: int = 100, render_mode: str | None = None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode={render_mode!r}: this environment offers 'rgb_array' or None")
        self.n_links = check_links(n_links)
        self.render_mode = render_mode
        self.observation_space = observation_space(self.n_links)
        self.action_space = action_space(self.n_links)
        self.angles = np.zeros(self.n_links)
        self.target = np.array([TARGET_RADII[0], 0.0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """
        :param seed: Seed of the episode's random state, kept over later resets without one
        :param options: ``"angles"`` (n,) in rad and ``"target"`` (2,) replace what is drawn
        :return: First observation (2n + 4,) and an empty info
        :raises ValueError: If an option is unknown, of the wrong shape or not finite
        """
        super().reset(seed=seed)
        self.angles, self.target = sample_start(self.np_random, self.n_links)
        for name, value in checked_options(options, {"angles": (self.n_links,), "target": (2,)}).items():
            setattr(self, name, value)
        return observe(self.angles, self.target)[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """
        :param action: (n,) in [-1, 1]
        :return: Observation, reward in [-2, 0], False (never terminates), False (the time limit truncates), info
        :raises ValueError: If the action is not finite or of another shape
        """
        action = np.asarray(action)
        if action.shape != (self.n_links,) or not np.isfinite(action).all():
            raise ValueError(f"the action must be {self.n_links} finite numbers, got shape {action.shape}: {action}")
        self.angles = turn(self.angles, action)
        observation, distance = observe(self.angles, self.target)
        info = {"distance": float(distance), "is_success": bool(distance < SUCCESS_DISTANCE)}
        return observation, -float(distance), False, False, info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """
        :return: (240, 240, 3) picture of the chain (dark) and the target (red), None without a render mode
        """
        if self.render_mode is None:
            return None
        picture = np.full((240, 240, 3), 255, dtype=np.uint8)
        links = np.stack([np.cos(self.angles), np.sin(self.angles)], axis=-1) / self.n_links
        joints = np.vstack([np.zeros(2), np.cumsum(links, axis=0)])
        steps = np.linspace(0.0, 1.0, 1 + 240 // self.n_links, endpoint=False)[:, None, None]
        line = (joints[:-1] + steps * (joints[1:] - joints[:-1])).reshape(-1, 2)
        for points, colour in ((line, (40, 40, 60)), (joints[-1:], (0, 0, 0)), (self.target[None], (220, 30, 30))):
            columns, rows = (119.5 + 110.0 * points * [1, -1]).astype(int).T
            for offset in np.ndindex(5, 5) if len(points) == 1 else np.ndindex(2, 2):
                picture[rows + offset[0], columns + offset[1]] = colour
        return picture
