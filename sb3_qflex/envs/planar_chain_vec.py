"""Hundreds of planar chains in one Stable-Baselines3 ``VecEnv``, stepped as one array."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_qflex.envs import planar_chain


class PlanarChainVecEnv(VecEnv):
    """
    The vectorised form of :class:`~sb3_qflex.envs.planar_chain.PlanarChain`.

    With the same seed it gives the same numbers as a ``DummyVecEnv`` of as many time-limited single environments;
    all copies start and end their episodes together.

    :param num_envs: Number of chains, at least 1
    :param n_links: Number of links of each, at least 1
    :param max_episode_steps: Steps after which the episodes are truncated, at least 1
    :raises ValueError: If an argument is not a positive integer
    """

    def __init__(
        self, num_envs: int, n_links: int = 100, max_episode_steps: int = planar_chain.MAX_EPISODE_STEPS
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: a positive integer is needed")
        self.n_links = planar_chain.check_links(n_links)
        self.max_episode_steps = max_episode_steps
        self.render_mode = None
        super().__init__(num_envs, planar_chain.observation_space(), planar_chain.action_space(self.n_links))
        self.angles = np.zeros((num_envs, self.n_links))
        self.targets = np.zeros((num_envs, 2))
        self._generators = [seeding.np_random(None)[0] for _ in range(num_envs)]
        self._actions: NDArray[np.floating] = np.zeros((num_envs, self.n_links))
        self._steps = 0

    def reset(self) -> VecEnvObs:
        """
        :return: Observations (num_envs, 4)
        :raises ValueError: If reset options were set: only the single environment takes them
        """
        if any(self._options):
            raise ValueError("PlanarChainVecEnv takes no reset options; use PlanarChain-v0 in a DummyVecEnv for them")
        for index, seed in enumerate(self._seeds):
            if seed is not None:
                self._generators[index] = seeding.np_random(seed)[0]
        self._reset_seeds()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self._start()

    def _start(self) -> NDArray[np.float32]:
        self._steps = 0
        self._restart(range(self.num_envs))
        return planar_chain.observe(self.angles, self.targets)[0]

    def _restart(self, copies: Iterable[int]) -> None:
        for copy in copies:
            self.angles[copy] = planar_chain.rest_angles(self.n_links)
            self.targets[copy] = planar_chain.sample_target(self._generators[copy])

    def step_async(self, actions: NDArray[np.floating]) -> None:
        """
        :param actions: (num_envs, n) in [-1, 1]
        :raises ValueError: If they are not finite or of another shape
        """
        actions = np.asarray(actions)
        if actions.shape != self._actions.shape or not np.isfinite(actions).all():
            raise ValueError(
                f"actions must be finite and of shape {self._actions.shape}, got shape {actions.shape}: {actions}"
            )
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """
        :return: Observations, rewards, dones and infos; a truncated episode's last observation is in
            ``info["terminal_observation"]``
        """
        self.angles = planar_chain.drive(self._actions)
        observations, distances = planar_chain.observe(self.angles, self.targets)
        rewards = planar_chain.reward(distances, self.targets).astype(np.float32)
        self._steps += 1
        done = self._steps >= self.max_episode_steps
        infos: list[dict[str, Any]] = [
            {"distance": distance, "is_success": distance < planar_chain.SUCCESS_DISTANCE, "TimeLimit.truncated": done}
            for distance in distances.tolist()
        ]
        if done:
            for info, observation in zip(infos, observations, strict=True):
                info["terminal_observation"] = observation
            observations = self._start()
        return observations, rewards, np.full(self.num_envs, done), infos

    def get_state(self) -> dict[str, Any]:
        """
        :return: State of all copies, for :meth:`set_state` of an object with the same arguments
        """
        generators = [generator.bit_generator.state for generator in self._generators]
        return {
            "angles": self.angles.copy(),
            "targets": self.targets.copy(),
            "steps": self._steps,
            "generators": generators,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """
        Put all copies where others were; no reset is needed.

        :param state: What :meth:`get_state` gave
        """
        self.angles, self.targets = np.array(state["angles"]), np.array(state["targets"])
        self._steps = state["steps"]
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = saved

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """
        :param attr_name: Attribute of this object, the same for every copy
        :param indices: Copies asked for
        :return: Its value, once for each
        """
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """:raises NotImplementedError: Always: the copies share one state"""
        raise NotImplementedError("the copies of PlanarChainVecEnv share their attributes; set them on the object")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """
        :param method_name: "reset" only, without arguments: a new start for the copies asked for, whose episode still
            ends with those of the others
        :param indices: Copies asked for
        :return: Observation and info of each
        :raises NotImplementedError: For anything else: there is no environment behind a copy
        """
        if method_name != "reset" or args or kwargs:
            raise NotImplementedError(f"PlanarChainVecEnv has no single environments to call {method_name!r} on")
        chosen = list(self._get_indices(indices))
        self._restart(chosen)
        observations = planar_chain.observe(self.angles[chosen], self.targets[chosen])[0]
        return [(observation, {}) for observation in observations]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """
        :param wrapper_class: Any wrapper
        :param indices: Copies asked for
        :return: False for each
        """
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """
        :return: None for each copy; render the single environment instead
        """
        return [None] * self.num_envs
