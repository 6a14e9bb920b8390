"""Unitree H1 running and balancing, as HumanoidBench defines them (Sferrazza et al. 2024, tasks run, balance_simple)."""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_qflex.envs.body import BodyEnv, Terms
from sb3_qflex.envs.models import H1_BALANCE, H1_RUN
from sb3_qflex.envs.tolerance import tolerance

INF = float("inf")
STAND_HEIGHT = 1.65  # m, height of the head
START_NOISE = 0.01


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

    def _observe(self) -> NDArray[np.float64]:
        return np.concatenate([self.data.qpos, self.data.qvel])

    def _standing(self) -> tuple[float, Terms]:
        standing = tolerance(self._head[2], self.head_height, INF, STAND_HEIGHT / 4)
        upright = tolerance(self._torso[8], 0.9, INF, 1.9, "linear", 0.0)
        effort = tolerance(self.data.actuator_force, margin=10.0, shape="quadratic", value_at_margin=0.0)
        small_control = (4.0 + effort.sum() / effort.size) / 5.0
        terms = {"standing": float(standing), "upright": float(upright), "small_control": float(small_control)}
        return float(small_control * standing * upright), terms

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
        move = float(tolerance(self._com_velocity[0], 5.0, INF, 5.0, "linear", 0.0))
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
        self._floor, self._sphere, self._board = (self.model.geom(name).id for name in geoms)

    def _reward(self) -> tuple[float, Terms]:
        standing, terms = self._standing()
        still = tolerance(self._com_velocity[:2], margin=2.0)
        dont_move = float(still[0] + still[1]) / 2.0
        return standing * dont_move, {**terms, "dont_move": dont_move}

    def _fallen(self) -> bool:
        return super()._fallen() or self._touches_wrongly(self.data.contact.geom)

    def _touches_wrongly(self, pairs: NDArray[Any]) -> bool:
        floor, sphere, board = (
            (pairs == geom).any(axis=1) for geom in (self._floor, self._sphere, self._board)
        )
        return bool(((sphere & ~floor & ~board) | (floor & ~sphere)).any())
