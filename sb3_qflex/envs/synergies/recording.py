"""Lengths of muscles while joints move at random: what groups are found from (arXiv 2407.11472, appendix)."""

import copy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import NDArray

from sb3_qflex.envs.divergence import bad_states

# As numbers: an element of an array does not equal MuJoCo's own constants.
_FREE, _BALL, _SLIDE = map(int, (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL, mujoco.mjtJoint.mjJNT_SLIDE))


@dataclass(frozen=True)
class Motion:
    """
    How joints are moved, by default the paper's for legs.

    :param amplitude: Every ``every`` steps the velocity of each joint is drawn from U(-amplitude, amplitude), in rad/s
        or m/s; the paper has 10 for legs and ostrich, 100 for the hand, 5 for the whole body and the arm
    :param lift: Vertical velocity in m/s that the root gets before each step, its others being set to 0; about g T / 2
        for steps of T seconds keeps the body where it is
    :param every: Steps between two drawings
    """

    amplitude: float = 10.0
    lift: float = 0.1
    every: int = 10


def muscle_model(env: gym.Env) -> mujoco.MjModel:
    """
    :param env: An environment
    :return: Its MuJoCo model
    :raises ValueError: If it has none, or one without muscles and tendons
    """
    model = getattr(env.unwrapped, "model", None)
    if not isinstance(model, mujoco.MjModel):
        raise ValueError(f"{env} has no MuJoCo model (env.unwrapped.model) to record lengths of muscles from.")
    muscle = model.actuator_dyntype == mujoco.mjtDyn.mjDYN_MUSCLE
    if not (muscle | (model.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON)).any():
        raise ValueError(
            f"{env} has {model.nu} actuators, and none of them is a muscle or pulls on a tendon: there are no "
            "synergies to find. Give groups by hand, or leave them out."
        )
    return model


def record_lengths(env: gym.Env, steps: int, seed: int, motion: Motion) -> tuple[NDArray[np.float32], int]:
    """
    Simulate without any excitation, with joint velocities drawn at random.

    The simulation is the environment's, from its first state; the model is a copy. Objects that no muscle pulls on
    (separate trees of bodies) get no velocity and touch nothing. Where the simulation diverges it goes on from the
    first state.

    :param env: An environment on a MuJoCo model with muscles
    :param steps: Steps of the environment, as long as its own
    :param seed: Of the first state and of the velocities
    :param motion: How joints are moved
    :return: Lengths of all actuators after each step (steps, \\|A\\|), and how often the simulation diverged
    :raises ValueError: If there are no muscles
    """
    env.reset(seed=seed)
    model = copy.copy(muscle_model(env))
    pulled = _pulled_trees(model)
    _let_objects_go(model, pulled)
    root, up = _root(model, pulled)
    held = np.concatenate([root, np.flatnonzero(~np.isin(model.body_rootid[model.dof_bodyid], list(pulled)))])
    data = mujoco.MjData(model)
    start: Any = env.unwrapped
    substeps = int(getattr(start, "frame_skip", 1))
    rng = np.random.default_rng(seed)
    lengths = np.empty((steps, model.nu), dtype=np.float32)
    divergences = 0
    data.qpos[:] = start.data.qpos
    for step in range(steps):
        if step % motion.every == 0:
            data.qvel[:] = rng.uniform(-motion.amplitude, motion.amplitude, model.nv)
        data.qvel[held] = 0.0
        data.qvel[up] = motion.lift
        mujoco.mj_step(model, data, nstep=substeps)
        if bad_states(data).any():
            divergences += 1
            mujoco.mj_resetData(model, data)
            data.qpos[:] = start.data.qpos
            mujoco.mj_fwdPosition(model, data)
        lengths[step] = data.actuator_length
    return lengths, divergences


def _pulled_trees(model: mujoco.MjModel) -> set[int]:
    """Roots of the trees of bodies that tendons are fixed to, or whose joints actuators turn."""
    sites = model.wrap_objid[model.wrap_type == mujoco.mjtWrap.mjWRAP_SITE]
    joints = model.wrap_objid[model.wrap_type == mujoco.mjtWrap.mjWRAP_JOINT]
    direct = model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT
    joints = np.concatenate([joints, model.actuator_trnid[direct, 0]])
    bodies = np.concatenate([model.site_bodyid[sites], model.jnt_bodyid[joints]])
    return {int(root) for root in model.body_rootid[bodies]} - {0}


def _let_objects_go(model: mujoco.MjModel, pulled: set[int]) -> None:
    """Objects pass through everything: what a hand holds would otherwise decide how its fingers move."""
    for geom in range(model.ngeom):
        tree = int(model.body_rootid[model.geom_bodyid[geom]])
        if tree != 0 and tree not in pulled:
            model.geom_contype[geom] = model.geom_conaffinity[geom] = 0


def _root(model: mujoco.MjModel, pulled: set[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Degrees of freedom of the pulled trees' roots where these can travel, and the vertical ones among them."""
    root: list[int] = []
    up: list[int] = []
    down = model.opt.gravity / max(float(np.linalg.norm(model.opt.gravity)), 1e-12)
    for body in pulled:
        joints = np.flatnonzero(model.jnt_bodyid == body)
        if not np.isin(model.jnt_type[joints], (_FREE, _SLIDE)).any():
            continue
        for joint in joints:
            start, kind = int(model.jnt_dofadr[joint]), int(model.jnt_type[joint])
            root.extend(range(start, start + {_FREE: 6, _BALL: 3}.get(kind, 1)))
            if kind == _FREE:
                up.extend(start + np.flatnonzero(down < -0.9))
            elif kind == _SLIDE:
                axis = np.zeros(3)
                mujoco.mju_rotVecQuat(axis, model.jnt_axis[joint], model.body_quat[body])
                up.extend([start] if axis @ down < -0.9 else [])
    return np.array(root, dtype=np.intp), np.array(up, dtype=np.intp)
