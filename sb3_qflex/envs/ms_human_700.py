"""The 700-muscle body tracks a motion (Zuo et al. 2024, MS-Human-700), in the form the paper trains on."""

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from sb3_qflex.envs.body import BodyEnv, Terms
from sb3_qflex.envs.models import MS_HUMAN_700, WALKING_MOTION
from sb3_qflex.envs.motion import CyclicMotion

WALKING_SPEED = 1.25  # m/s
LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")
ARM = ("elv_angle", "shoulder_elv", "shoulder_rot", "elbow_flexion", "pro_sup", "deviation", "flexion")
TORSO = tuple(f"{joint}_{axis}" for joint in ("L5_S1", "T12_L1", "T1_head_neck") for axis in ("FE", "LB", "AR"))
TRACKED = (*TORSO, *(f"{joint}_{side}" for joint in LEG + ARM for side in "rl"))


class MSHuman700(BodyEnv):
    """
    Track a cyclic motion at a given speed with 700 muscles.

    Observation (3148): qpos, qvel, qacc (85 each); activation, force in kN clipped to ±100, length, velocity clipped
    to ±100 of each muscle (700 each); time, phase; positions of pelvis and sternum; target qpos minus qpos (85).
    Reward: with the mass-weighted mean v of the bodies' velocities and the motion's target q*, v* of the step,
    5 (-(v_y)² - (speed - v_x)²) - 50 Σ_{37 leg, torso, arm joints} (q* - q)² - 0.1 ‖v* - qvel‖ - ‖act‖ / 700
    + 100 while healthy. Healthy: pelvis above 0.6 m, sternum above 1 m, |qpos[3:6]| < ``max_rotation``,
    ‖q* - q‖ < 3; the episode ends when it is not.

    As in the authors' code, the target of a step is the motion at the step's beginning, and the phase counts time
    since the reset in cycles, wherever in the cycle the reset was. Unlike there, the limit of 6 s truncates.

    Actions (700) are excitations in [0, 1]. 50 Hz. Start: on the motion at a uniform phase, muscles at rest.

    :param motion_path: Motion file, see :mod:`sb3_qflex.envs.motion` for the format. If None, the walking cycle is
        looked for as described in :mod:`sb3_qflex.envs.models`
    :param target_speed: Forward speed in m/s; if None, the motion's own mean speed
    :param max_rotation: Largest healthy |qpos[3:6]| in rad, above the motion's own
    :param kwargs: ``model_path`` and the further parameters of :class:`~sb3_qflex.envs.body.BodyEnv`
    :raises AssetNotFoundError: If the model or the motion is not found
    :raises ValueError: If a file is of another format or an argument is out of its range
    """

    asset = MS_HUMAN_700
    dimensions = (85, 85, 700)
    observation_size = 3148
    camera = "record_camera"
    max_geom = 20000

    def __init__(
        self,
        motion_path: str | Path | None = None,
        target_speed: float | None = None,
        max_rotation: float = 0.4,
        **kwargs: Any,
    ) -> None:
        self.motion = CyclicMotion(WALKING_MOTION.find(motion_path), self.dimensions[0])
        self.target_speed = self.motion.forward_speed if target_speed is None else float(target_speed)
        self.max_rotation = float(max_rotation)
        if not np.isfinite(self.target_speed):
            raise ValueError(f"target_speed={target_speed!r} must be a finite speed in m/s")
        if not self.motion.largest_rotation < self.max_rotation:
            raise ValueError(
                f"the motion rotates the root by {self.motion.largest_rotation:.2f} rad, which ends an episode: "
                f"max_rotation={max_rotation} must be above it"
            )
        self._target = self.motion.at(0.0)
        self._start_time = 0.0
        super().__init__(**kwargs)
        EzPickle.__init__(self, motion_path=motion_path, target_speed=target_speed, max_rotation=max_rotation, **kwargs)

    def _resolve_names(self) -> None:
        self._pelvis = self.data.body("pelvis").xpos
        self._sternum = self.data.body("sternum").xpos
        self._tracked = np.array([self.model.joint(name).qposadr[0] for name in TRACKED])
        self._mass_share = self.model.body_mass / self.model.body_mass.sum()
        # One array in the order of the observation, filled in place.
        self._parts = np.zeros(self.observation_size)

    def _option_shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super()._option_shapes(), "phase": ()}

    def _start_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        phase = float(self._options.get("phase", self.np_random.random()))
        self._start_time = phase % 1.0 * self.motion.period
        self._target = self.motion.at(self._start_time)
        return self._target

    def _advance(self, control: NDArray[np.floating]) -> None:
        self._target = self.motion.at(self._start_time + self.data.time)
        super()._advance(control)

    def _observe(self) -> NDArray[np.float64]:
        data, parts = self.data, self._parts
        parts[:85] = data.qpos
        parts[85:170] = data.qvel
        parts[170:255] = data.qacc
        parts[255:955] = data.act
        np.multiply(data.actuator_force, 0.001, out=parts[955:1655])
        np.clip(parts[955:1655], -100.0, 100.0, out=parts[955:1655])
        parts[1655:2355] = data.actuator_length
        np.clip(data.actuator_velocity, -100.0, 100.0, out=parts[2355:3055])
        parts[3055] = data.time
        parts[3056] = data.time / self.motion.period % 1.0
        parts[3057:3060] = self._pelvis
        parts[3060:3063] = self._sternum
        np.subtract(self._target[0], data.qpos, out=parts[3063:])
        return parts

    def _reward(self) -> tuple[float, Terms]:
        data = self.data
        error = self._target[0] - data.qpos
        forward, sideways = (self._mass_share @ data.cvel[:, 3:5]).tolist()
        slower = self.target_speed - forward
        terms = {
            "velocity": -5.0 * (sideways * sideways + slower * slower),
            "posture": -50.0 * float(np.square(error[self._tracked]).sum()),
            "joint_velocity": -0.1 * float(np.linalg.norm(self._target[1] - data.qvel)),
            "activation": -float(np.linalg.norm(data.act)) / self.model.na,
            "healthy": 0.0 if self._fallen() else 100.0,
        }
        return sum(terms.values()), terms

    def _fallen(self) -> bool:
        qpos = self.data.qpos
        return bool(
            self._pelvis[2] < 0.6
            or self._sternum[2] < 1.0
            or np.abs(qpos[3:6]).max() > self.max_rotation
            or np.linalg.norm(self._target[0] - qpos) > 3.0
        )


class MSHuman700Walk(MSHuman700):
    """
    :class:`MSHuman700` on the walking cycle at 1.25 m/s.

    :param motion_path: As there
    :param target_speed: Forward speed in m/s
    """

    def __init__(
        self, motion_path: str | Path | None = None, target_speed: float = WALKING_SPEED, **kwargs: Any
    ) -> None:
        super().__init__(motion_path, target_speed, **kwargs)


class MSHuman700Tracking(MSHuman700):
    """
    :class:`MSHuman700` on the user's own motion, for the paper's Run and Dance: no public motion of either was found.

    :param motion_path: Motion file, required; see :mod:`sb3_qflex.envs.motion` for the format
    :param target_speed: Forward speed in m/s; if None, the motion's own mean speed
    :raises ValueError: If no motion is given
    """

    def __init__(self, motion_path: str | Path | None = None, target_speed: float | None = None, **kwargs: Any) -> None:
        if motion_path is None:
            raise ValueError(
                "motion_path= is needed: no public running or dancing motion for MS-Human-700 was found. Pass an .npz "
                "with 'qpos_traj' (T, 85), 'framerate' and optionally 'stride' (sb3_qflex.envs.motion describes it)."
            )
        super().__init__(motion_path, target_speed, **kwargs)
