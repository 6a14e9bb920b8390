"""What the MuJoCo bodies have in common: shared models, float32 spaces, seeded starts, and an end to divergence."""

import copy
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from sb3_qflex.common.array_memory import is_of_a_simulator
from sb3_qflex.envs.divergence import bad_states, is_finite
from sb3_qflex.envs.models import Asset, compiled_model
from sb3_qflex.envs.reset_options import checked_options

Terms = dict[str, float]

#: All that a step depends on, the solver's start included.
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_SIMULATION = "simulation"
_OF_MODEL = ("model", "data", "mujoco_renderer")


class BodyEnv(MujocoEnv, EzPickle):
    """
    A body on MuJoCo whose subclass gives start state, observation, reward and end.

    As with ``MujocoEnv``, quantities MuJoCo derives from the state (positions of bodies, sensors, muscle lengths)
    are those of the last substep's start, like in the environments of the paper; ``qpos``, ``qvel`` and ``act`` are the
    new ones. When the simulation diverges the episode terminates with ``info["diverged"]`` True, the observation of
    the step before and reward 0; ``divergences`` counts how often this happened.

    The compiled model is shared by the environments of a process. An environment that renders has a copy of its own.

    :param model_path: The model's MJCF file; without it, it is looked for as described in
        :mod:`sb3_qflex.envs.models`
    :param render_mode: ``"rgb_array"``, ``"depth_array"``, ``"human"`` or None
    :param width: Width of the picture in pixels
    :param height: Height of the picture in pixels
    :param camera_name: A camera of the model, in place of the one that follows the body
    :raises AssetNotFoundError: If the model is not found
    :raises ValueError: If the file is another model, or it has no such camera
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 50}  # noqa: RUF012
    asset: ClassVar[Asset]
    timestep: ClassVar[float] = 0.002
    substeps: ClassVar[int] = 10
    dimensions: ClassVar[tuple[int, int, int]]  # nq, nv, nu of the model
    observation_size: ClassVar[int]
    camera: ClassVar[str]
    max_geom: ClassVar[int] = 1000

    def __init__(
        self,
        model_path: str | Path | None = None,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera_name: str | None = None,
    ) -> None:
        EzPickle.__init__(self, model_path, render_mode, width, height, camera_name)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode={render_mode!r}: allowed are {self.metadata['render_modes']} and None")
        self._renders = render_mode is not None
        MujocoEnv.__init__(
            self,
            str(self.asset.find(model_path)),
            self.substeps,
            spaces.Box(-np.inf, np.inf, (self.observation_size,), dtype=np.float32),
            render_mode=render_mode,
            width=width,
            height=height,
            camera_name=self.camera if camera_name is None else camera_name,
            max_geom=self.max_geom,
        )
        if camera_name is not None:
            self._require_camera(camera_name)
        self._resolve_names()
        self.divergences = 0
        self._bad_states = bad_states(self.data)
        self._options: dict[str, NDArray[np.float64]] = {}
        self._last_observation = np.zeros(self.observation_size, dtype=np.float32)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = compiled_model(Path(self.fullpath), self.timestep)
        if (model.nq, model.nv, model.nu) != self.dimensions:
            raise ValueError(
                f"{self.fullpath} is not {self.asset.name}: it has (nq, nv, nu) = {(model.nq, model.nv, model.nu)}, "
                f"expected {self.dimensions}. {self.asset.advice()}"
            )
        if self._renders:
            model = copy.copy(model)
            model.vis.global_.offwidth, model.vis.global_.offheight = self.width, self.height
        return model, mujoco.MjData(model)

    def _require_camera(self, name: str) -> None:
        cameras = [self.model.camera(index).name for index in range(self.model.ncam)]
        if name not in cameras:
            raise ValueError(f"camera_name={name!r} is no camera of this model; it has {cameras}")

    # ------------------------------------------------------------------ what a body defines

    def _resolve_names(self) -> None:
        """Look up the indices of the model's bodies, sensors and joints, once."""
        raise NotImplementedError

    def _start_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw qpos (nq,) and qvel (nv,) of a new episode from ``self.np_random``."""
        raise NotImplementedError

    def _observe(self) -> NDArray[np.floating]:
        """Return the observation (observation_size,) of the simulation's present state; if float32, a new array."""
        raise NotImplementedError

    def _reward(self) -> tuple[float, Terms]:
        """Return the present state's reward and its terms."""
        raise NotImplementedError

    def _fallen(self) -> bool:
        """Return whether the present state ends the episode."""
        raise NotImplementedError

    def _control(self, action: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return the controls (nu,) for an action; the action itself unless the body maps it."""
        return action

    def _advance(self, control: NDArray[np.floating]) -> None:
        """Simulate one step of the environment."""
        self.data.ctrl[:] = control
        mujoco.mj_step(self.model, self.data, nstep=self.substeps)

    # ------------------------------------------------------------------ Gymnasium's interface

    def step(  # type: ignore[override]
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """
        :param action: (nu,) float32 in the action space
        :return: Observation, reward, whether the body fell (or the simulation diverged), False (the registered time
            limit truncates) and info: the reward's terms and ``diverged``
        :raises ValueError: If the action is not finite or of another shape
        """
        action = np.asarray(action)
        actions = self.dimensions[2]
        if action.shape != (actions,) or not is_finite(action):
            raise ValueError(f"the action must be {actions} finite numbers, got shape {action.shape}: {action}")
        self._advance(self._control(action))
        observation = self._observe().astype(np.float32, copy=False)
        reward, terms = self._reward()
        if any(self._bad_states.tolist()) or not (is_finite(observation) and isfinite(reward)):
            self.divergences += 1
            return self._last_observation, 0.0, True, False, {**dict.fromkeys(terms, 0.0), "diverged": True}
        self._last_observation = observation
        if self.render_mode == "human":
            self.render()
        return observation, reward, self._fallen(), False, {**terms, "diverged": False}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """
        :param seed: Seed of the start states, kept over later resets without one
        :param options: ``"qpos"`` (nq,) and ``"qvel"`` (nv,) replace the start state that is drawn
        :return: First observation and info
        :raises ValueError: If an option is unknown, of the wrong shape or not finite
        """
        self._options = checked_options(options, self._option_shapes())
        return super().reset(seed=seed)

    def _option_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"qpos": (self.model.nq,), "qvel": (self.model.nv,)}

    def reset_model(self) -> NDArray[np.float32]:  # type: ignore[override]
        """
        :return: Observation of the drawn start state, which the reset's options override
        """
        qpos, qvel = self._start_state()
        self.set_state(self._options.get("qpos", qpos), self._options.get("qvel", qvel))
        self._last_observation = self._observe().astype(np.float32)
        if not np.isfinite(self._last_observation).all():
            raise ValueError(f"the start state gives an observation that is not finite; reset options: {self._options}")
        return self._last_observation

    # ------------------------------------------------------------------ checkpoints

    def training_state(self) -> dict[str, Any]:
        """
        :return: The simulation's state and all attributes but the model, which is shared, and what looks into the data
        """
        simulation = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, simulation, _STATE)
        own = {name: value for name, value in vars(self).items() if name not in _OF_MODEL}
        views = [name for name, value in own.items() if isinstance(value, np.ndarray) and is_of_a_simulator(value)]
        return {**{name: value for name, value in own.items() if name not in views}, _SIMULATION: simulation}

    def restore_training_state(self, state: dict[str, Any]) -> None:
        """
        :param state: What :meth:`training_state` of a like environment gave
        """
        mujoco.mj_setState(self.model, self.data, state.pop(_SIMULATION), _STATE)
        # What a body derives from it before its next step, see SMPLHumanoidJump.
        mujoco.mj_step1(self.model, self.data)
        vars(self).update(state)
