"""The SMPL humanoid's jump, as humenv defines it (Tirinzoni et al. 2025, task jump-2)."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from sb3_qflex.envs.body import BodyEnv, Terms
from sb3_qflex.envs.models import SMPL_HUMANOID
from sb3_qflex.envs.tolerance import linear

INF = float("inf")
BODIES = 24
START_HEIGHT = 0.94  # m, height of the pelvis
JUMP_HEIGHT = 2.0  # m, height of the head


class SMPLHumanoidJump(BodyEnv):
    """
    Bring the head to a height of 2 m, upright and on the way up; the reward lies in [0, 1].

    Observation (358): height of the root; positions of the other 23 bodies relative to it (69), rotations as the
    images of the x and z axes (144), linear (72) and angular (72) velocities of all 24 bodies, all turned about the
    vertical so that the root's heading is the x axis. The heading is taken after removing the SMPL base rotation
    (0.5, 0.5, 0.5, 0.5), so it is where the root's z axis points. Positions and sensors are brought up to date
    after each step, as the original does.

    Actions (69) are in [-1, 1]. 30 Hz, 450 Hz in the simulation. Start: T-pose at rest, the root at 0.94 m, always
    the same. Ends when the head is below 0.5 m or the pelvis below 0.2 m. See
    :class:`~sb3_qflex.envs.body.BodyEnv` for the parameters.
    """

    metadata = {**BodyEnv.metadata, "render_fps": 30}  # noqa: RUF012
    asset = SMPL_HUMANOID
    timestep = 1.0 / 450.0
    substeps = 15
    dimensions = (76, 75, 69)
    observation_size = 358
    camera = "front_side"

    def _resolve_names(self) -> None:
        self._head = self.data.body("Head").xpos
        self._pelvis = self.data.body("Pelvis").xpos
        self._chest = self.data.body("Chest").xmat
        self._com_velocity = self.data.sensor("Chest_subtreelinvel").data

    def _start_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        qpos = np.zeros(self.model.nq)
        qpos[2] = START_HEIGHT
        qpos[3:5] = np.sqrt(0.5)
        return qpos, np.zeros(self.model.nv)

    def _advance(self, control: NDArray[np.floating]) -> None:
        # Positions, velocities and sensors of the present state are already there (from the reset or the step
        # before), so the step begins with its second half; its last act is to bring them up to date again.
        self.data.ctrl[:] = control
        mujoco.mj_step2(self.model, self.data)
        mujoco.mj_step(self.model, self.data, nstep=self.substeps - 1)
        mujoco.mj_step1(self.model, self.data)

    def _observe(self) -> NDArray[np.float64]:
        data = self.data
        positions = data.xpos[1 : BODIES + 1]
        rotations = data.xmat[1 : BODIES + 1].reshape(BODIES, 3, 3)
        # Rows: positions, images of x and z, linear and angular velocities, each turned by the same rotation.
        vectors = np.empty((5 * BODIES, 3))
        vectors[:BODIES] = positions - positions[0]
        vectors[BODIES : 3 * BODIES] = rotations[:, :, ::2].transpose(0, 2, 1).reshape(-1, 3)
        vectors[3 * BODIES :] = data.sensordata[: 6 * BODIES].reshape(-1, 3)
        turned = vectors @ _heading(rotations[0])
        return np.concatenate([positions[0, 2:], turned[1:].ravel()])

    def _reward(self) -> tuple[float, Terms]:
        height = linear(float(self._head[2]), JUMP_HEIGHT, JUMP_HEIGHT + 0.1, JUMP_HEIGHT, value_at_margin=0.01)
        upright = linear(float(self._chest[7]), 0.9, INF, 1.9)
        velocity = linear(float(self._com_velocity[2]), 5.0, INF, 5.0)
        return height * upright * velocity, {"height": height, "upright": upright, "velocity": velocity}

    def _fallen(self) -> bool:
        return bool(self._head[2] < 0.5 or self._pelvis[2] < 0.2)


def _heading(root: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix about the vertical by the heading; row vectors times it are turned back by the heading."""
    angle = np.arctan2(root[1, 2], root[0, 2])
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
