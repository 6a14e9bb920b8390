"""A planar chain of n links, the smallest task on which isotropic exploration fails as n grows.

Link i has length 1/n and the absolute angle θ_i = 2πi/n + (π/2) a_i, driven by action i; the tip is the mean of the n
unit vectors (cos θ_i, sin θ_i). At rest the chain is a closed ring with its tip at the base. Independent noise on the
actions moves the tip with variance O(1/n), so a policy that explores each actuator on its own explores almost nothing
of the task once n is large. The angles follow the actions at once: no action influences a later reward (gamma = 0 is
exact), and what is left of the problem is exploration alone.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_qflex.envs.reset_options import checked_options

MAX_EPISODE_STEPS = 50
MAX_TURN = np.pi / 2  # rad from its rest to either side: the tip of a long chain gets 1/2 + 1/π = 0.82 from the base
TARGET_RADII = (0.3, 0.7)
SUCCESS_DISTANCE = 0.05


def check_links(n_links: int) -> int:
    """``n_links`` as an int; a ``ValueError`` if it is not a positive integer."""
    if isinstance(n_links, bool) or not isinstance(n_links, (int, np.integer)) or n_links < 1:
        raise ValueError(f"n_links={n_links!r}: the chain needs a positive integer number of links")
    return int(n_links)


def observation_space() -> spaces.Box:
    """Box of 4 float32 in [-1, 1]: tip and target."""
    return spaces.Box(-1.0, 1.0, (4,), dtype=np.float32)


def action_space(n_links: int) -> spaces.Box:
    """Box of n float32 in [-1, 1]; 1 turns a link by ``MAX_TURN`` from its rest."""
    return spaces.Box(-1.0, 1.0, (n_links,), dtype=np.float32)


def sample_target(rng: np.random.Generator) -> NDArray[np.float64]:
    """Target (2,) with uniform direction and radius."""
    direction = rng.uniform(-np.pi, np.pi)
    return rng.uniform(*TARGET_RADII) * np.array([np.cos(direction), np.sin(direction)])


def rest_angles(n_links: int) -> NDArray[np.float64]:
    """Angles (n,) in rad of the closed ring."""
    return 2 * np.pi * np.arange(n_links) / n_links


def drive(action: NDArray[np.floating]) -> NDArray[np.float64]:
    """Angles (..., n) in rad that actions (..., n) give; values outside [-1, 1] are clipped."""
    return rest_angles(action.shape[-1]) + MAX_TURN * np.clip(action, -1.0, 1.0, dtype=np.float64)


def observe(
    angles: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Observations (..., 4) of angles (..., n) and targets (..., 2), and distances (...) of the tip from the target."""
    tip = np.stack([np.cos(angles).mean(axis=-1), np.sin(angles).mean(axis=-1)], axis=-1)
    observation = np.concatenate([tip, target], axis=-1).astype(np.float32)
    return observation, np.linalg.norm(target - tip, axis=-1)


def reward(distance: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rewards (...) for distances (...) from targets (..., 2): 1 on the target, 0 with the tip at the base."""
    return 1.0 - distance / np.linalg.norm(target, axis=-1)


class PlanarChain(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """
    Bring the tip of an n-link chain to a target in the plane.

    The reward is 1 minus the tip's distance from the target in units of the target's distance from the base: 1 on the
    target, 0 with the tip at the base, where a chain at rest has it and noise on many links leaves it.

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
        self.observation_space = observation_space()
        self.action_space = action_space(self.n_links)
        self.angles = rest_angles(self.n_links)
        self.target = np.array([TARGET_RADII[0], 0.0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """
        :param seed: Seed of the episode's random state, kept over later resets without one
        :param options: ``"angles"`` (n,) in rad replace the ring, ``"target"`` (2,), in [-1, 1] and not the base, what
            is drawn
        :return: First observation (4,) and an empty info
        :raises ValueError: If an option is unknown, of the wrong shape or not finite, or there is no such target
        """
        super().reset(seed=seed)
        self.angles, self.target = rest_angles(self.n_links), sample_target(self.np_random)
        for name, value in checked_options(options, {"angles": (self.n_links,), "target": (2,)}).items():
            setattr(self, name, value)
        if not self.target.any():
            raise ValueError("reset option target=(0, 0) is the base: give a target at some distance from it")
        if np.abs(self.target).max() > 1.0:
            raise ValueError(f"reset option target={tuple(self.target.tolist())} is outside of [-1, 1]²")
        return observe(self.angles, self.target)[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """
        :param action: (n,) in [-1, 1]
        :return: Observation, reward (at most 1), False (never terminates), False (the time limit truncates), info
        :raises ValueError: If the action is not finite or of another shape
        """
        action = np.asarray(action)
        if action.shape != (self.n_links,) or not np.isfinite(action).all():
            raise ValueError(f"the action must be {self.n_links} finite numbers, got shape {action.shape}: {action}")
        self.angles = drive(action)
        observation, distance = observe(self.angles, self.target)
        info = {"distance": float(distance), "is_success": bool(distance < SUCCESS_DISTANCE)}
        return observation, float(reward(distance, self.target)), False, False, info

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
