"""The ostrich's run (La Barbera et al. 2021, OstrichRL), in the form the paper trains on."""

import numpy as np
from numpy.typing import NDArray

from sb3_qflex.envs.body import BodyEnv, Terms
from sb3_qflex.envs.models import OSTRICH


class OstrichRun(BodyEnv):
    """
    Run as fast as possible: the reward is the forward speed of the centre of mass in m/s.

    Observation (596): heights of head, pelvis and the two feet, qpos but its first coordinate (55), qvel (56),
    activations (120), forces in kN (120), lengths (120) and velocities (120) of the muscles, forward speed; all but
    the heights, qpos, lengths and speed clipped to ±100.

    Actions (120) are in [-1, 1]; the muscles excite on [0, 1] of it. 40 Hz. Start: the model's own pose at rest,
    always the same. Ends when the head is below 0.9 m, the pelvis below 0.6 m or the trunk pitched by more than
    0.8 rad. See :class:`~sb3_qflex.envs.body.BodyEnv` for the parameters.
    """

    metadata = {**BodyEnv.metadata, "render_fps": 40}  # noqa: RUF012
    asset = OSTRICH
    timestep = 0.0025
    dimensions = (56, 56, 120)
    observation_size = 596
    camera = "side"
    max_geom = 5000

    def _resolve_names(self) -> None:
        self._head = self.data.body("head").xpos
        self._pelvis = self.data.geom("pelvis").xpos
        self._right_foot = self.data.body("r_pes").xpos
        self._left_foot = self.data.body("l_pes").xpos
        self._com_velocity = self.data.sensor("torso_subtreelinvel").data
        # One array in the order of the observation, filled in place.
        self._parts = np.zeros(self.observation_size)

    def _start_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.init_qpos, self.init_qvel

    def _observe(self) -> NDArray[np.float64]:
        data, parts = self.data, self._parts
        parts[:4] = self._head[2], self._pelvis[2], self._right_foot[2], self._left_foot[2]
        parts[4:59] = data.qpos[1:]
        parts[59:115] = data.qvel
        parts[115:235] = data.act
        parts[235:355] = data.actuator_force
        parts[235:355] /= 1000.0
        parts[475:595] = data.actuator_velocity
        for clipped in (parts[59:355], parts[475:595]):
            np.clip(clipped, -100.0, 100.0, out=clipped)
        parts[355:475] = data.actuator_length
        parts[595] = self._com_velocity[0]
        return parts

    def _reward(self) -> tuple[float, Terms]:
        speed = float(self._com_velocity[0])
        return speed, {"forward_speed": speed}

    def _fallen(self) -> bool:
        return bool(self._head[2] < 0.9 or self._pelvis[2] < 0.6 or abs(self.data.qpos[4]) > 0.8)
