"""Unitree H1 running and balancing, as HumanoidBench defines them (Sferrazza et al. 2024)."""

from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_qflex.envs.body import BodyEnv, Terms
from sb3_qflex.envs.models import H1_BALANCE, H1_RUN
from sb3_qflex.envs.tolerance import gaussian, linear

INF = float("inf")
STAND_HEIGHT = 1.65  # m, height of the head
START_NOISE = 0.01
NOTICEABLE_FORCE = 10.0  # N m, from which an actuator counts as fully at work


class H1(BodyEnv):
    """
    What both tasks share: 50 Hz, position control of 19 joints, and the terms for standing with little force.

    Observation: qpos, qvel. Actions in [-1, 1] map linearly onto the actuators' position ranges. Start: the model's
    key ``qpos0`` with uniform noise of ±0.01 on every coordinate of qpos, at rest.
    """

    camera: ClassVar[str] = "cam_default"
    head_height: ClassVar[float]  # m, from which the head's height is worth 1
    lowest_pelvis: ClassVar[float]  # m, below which the episode ends

    def _set_action_space(self) -> spaces.Box:
        low, high = self.model.actuator_ctrlrange.T
        self._control_centre, self._control_scale = (low + high) / 2, (high - low) / 2
        self.action_space = spaces.Box(-1.0, 1.0, (self.model.nu,), dtype=np.float32)
        return self.action_space

    def _resolve_names(self) -> None:
        self._head = self.data.site("head").xpos
        self._torso = self.data.body("torso_link").xmat
        self._com_velocity = self.data.sensor("pelvis_subtreelinvel").data

    def _control(self, action: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._control_centre + self._control_scale * action

    def _start_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        key = self.model.key("qpos0")
        return key.qpos + self.np_random.uniform(-START_NOISE, START_NOISE, self.model.nq), key.qvel.copy()

    def _observe(self) -> NDArray[np.float32]:
        observation = np.empty(self.observation_size, dtype=np.float32)
        positions = self.dimensions[0]
        observation[:positions], observation[positions:] = self.data.qpos, self.data.qvel
        return observation

    def _standing(self) -> tuple[float, Terms]:
        standing = gaussian(float(self._head[2]), self.head_height, INF, STAND_HEIGHT / 4)
        upright = linear(float(self._torso[8]), 0.9, INF, 1.9)
        # Mean of max(1 - (force / 10)², 0) over the actuators; for 19 of them a list is faster than NumPy calls.
        forces = self.data.actuator_force.tolist()
        weak = [force / NOTICEABLE_FORCE for force in forces if -NOTICEABLE_FORCE < force < NOTICEABLE_FORCE]
        idle = sum([1.0 - share * share for share in weak]) / len(forces)
        small_control = (4.0 + idle) / 5.0
        terms = {"standing": standing, "upright": upright, "small_control": small_control}
        return small_control * standing * upright, terms

    def _fallen(self) -> bool:
        return bool(self.data.qpos[2] < self.lowest_pelvis)


class H1Run(H1):
    """
    Run forward at 5 m/s or more; the reward lies in [0, 1].

    Ends when the pelvis is below 0.2 m. See :class:`H1` for observation, action and start, and
    :class:`~sb3_qflex.envs.body.BodyEnv` for the parameters.
    """

    asset = H1_RUN
    dimensions = (26, 25, 19)
    observation_size = 51
    head_height = STAND_HEIGHT
    lowest_pelvis = 0.2

    def _reward(self) -> tuple[float, Terms]:
        standing, terms = self._standing()
        move = linear(float(self._com_velocity[0]), 5.0, INF, 5.0)
        return standing * (5.0 * move + 1.0) / 6.0, {**terms, "move": move}


class H1BalanceSimple(H1):
    """
    Stand still on a board that rests on a sphere; the reward lies in [0, 1].

    Ends when the pelvis is below 0.8 m, when the sphere touches anything but floor or board, or when anything but
    the sphere touches the floor. See :class:`H1` for observation, action and start, and
    :class:`~sb3_qflex.envs.body.BodyEnv` for the parameters.
    """

    asset = H1_BALANCE
    dimensions = (33, 31, 19)
    observation_size = 64
    head_height = STAND_HEIGHT + 0.37
    lowest_pelvis = 0.8

    def _resolve_names(self) -> None:
        super()._resolve_names()
        geoms = ("floor", "pivot_sphere_collision", "stand_board_collision")
        floor, sphere, board = (self.model.geom(name).id for name in geoms)
        self._watched = floor, sphere
        self._allowed = {(floor, sphere), (sphere, floor), (board, sphere), (sphere, board)}

    def _reward(self) -> tuple[float, Terms]:
        standing, terms = self._standing()
        forward, sideways, _ = self._com_velocity.tolist()
        dont_move = (gaussian(forward, 0.0, 0.0, 2.0) + gaussian(sideways, 0.0, 0.0, 2.0)) / 2.0
        return standing * dont_move, {**terms, "dont_move": dont_move}

    def _fallen(self) -> bool:
        return super()._fallen() or self._touches_wrongly(self.data.contact.geom.tolist())

    def _touches_wrongly(self, pairs: list[list[int]]) -> bool:
        watched, allowed = self._watched, self._allowed
        return any((one in watched or two in watched) and (one, two) not in allowed for one, two in pairs)
