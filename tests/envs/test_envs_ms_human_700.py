"""The 700-muscle body: reward and end at states on and off the motion, observation against MuJoCo run beside it."""

import numpy as np
import pytest
from helpers.envs_assets import ENTRIES, make, needs

mujoco = pytest.importorskip("mujoco")

pytestmark = needs("MSHuman700Walk-v0")


@pytest.fixture(scope="module")
def env():
    return make("MSHuman700Walk-v0")


@pytest.fixture(scope="module")
def motion():
    path = ENTRIES["MSHuman700Walk-v0"].assets[1].find()
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in ("qpos_traj", "framerate", "stride")}


def moved(motion, **changes):
    """The first pose of the motion with some coordinates changed by so much."""
    qpos = motion["qpos_traj"][0].copy()
    for index, change in changes.items():
        qpos[int(index[1:])] += change
    return qpos


def spline_derivative(samples, step):
    """Slopes s of the periodic cubic spline: s[i-1] + 4 s[i] + s[i+1] = 3 (y[i+1] - y[i-1]) / step."""
    count = len(samples)
    shift = np.roll(np.eye(count), 1, axis=1)
    system = shift + shift.T + 4 * np.eye(count)
    return np.linalg.solve(system, 3 * (np.roll(samples, -1, axis=0) - np.roll(samples, 1, axis=0)) / step)


def test_start_at_phase_zero_is_the_motions_first_pose(env, motion):
    env.reset(seed=0, options={"phase": 0.0})
    np.testing.assert_allclose(env.data.qpos, motion["qpos_traj"][0], atol=1e-9)
    cycle = motion["qpos_traj"].copy()
    rate, stride = float(motion["framerate"]), float(motion["stride"])
    speed = stride * rate / len(cycle)
    cycle[:, 2] -= speed * np.arange(len(cycle)) / rate
    slopes = spline_derivative(cycle, 1 / rate)
    slopes[:, 2] += speed
    np.testing.assert_allclose(env.data.qvel, slopes[0], rtol=1e-6, atol=1e-9)
    # A later sample, at its own phase.
    env.reset(seed=0, options={"phase": 40 / 117})
    np.testing.assert_allclose(env.data.qpos, motion["qpos_traj"][40], atol=1e-9)
    np.testing.assert_allclose(env.data.qvel, slopes[40], rtol=1e-6, atol=1e-9)


def test_starts_differ_in_phase_and_reproduce(env):
    starts = [env.reset(seed=seed)[0] for seed in (0, 1, 0)]
    np.testing.assert_array_equal(starts[0], starts[2])
    assert np.abs(starts[0] - starts[1]).max() > 0.01


def reward_at(env, qpos, qvel):
    env.reset(seed=0, options={"phase": 0.0, "qpos": qpos, "qvel": qvel})
    return env._reward()


def test_reward_on_the_motion_is_health_and_speed(env, motion):
    env.reset(seed=0, options={"phase": 0.0})
    reward, terms = env._reward()
    masses = env.model.body_mass
    # MuJoCo's cvel holds rotation first, then the velocity in world axes.
    velocity = sum(mass * cvel[3:] for mass, cvel in zip(masses, env.data.cvel, strict=True)) / masses.sum()
    expected = 5 * (-(velocity[1] ** 2) - (1.25 - velocity[0]) ** 2)
    assert 0.5 < velocity[0] < 2.0
    assert terms["velocity"] == pytest.approx(expected)
    assert reward == pytest.approx(100 + expected, abs=1e-6)


def test_standing_still_costs_the_whole_speed(env, motion):
    _, terms = reward_at(env, moved(motion), np.zeros(85))
    target = np.linalg.norm(env._target[1])
    assert terms["velocity"] == pytest.approx(-5 * 1.25**2)
    assert terms["joint_velocity"] == pytest.approx(-0.1 * target)


def test_uniform_forward_motion_at_target_speed_is_free(env, motion):
    qvel = np.zeros(85)
    qvel[2] = 1.25
    assert reward_at(env, moved(motion), qvel)[1]["velocity"] == pytest.approx(0, abs=1e-12)
    qvel[0] = 0.5  # pelvis_tz: sideways
    assert reward_at(env, moved(motion), qvel)[1]["velocity"] == pytest.approx(-5 * 0.25)


@pytest.mark.parametrize(
    ("joint", "tracked"),
    [
        ("hip_flexion_r", True),
        ("mtp_angle_l", True),
        ("L5_S1_FE", True),
        ("T1_head_neck_AR", True),
        ("elv_angle_r", True),
        ("flexion_l", True),
        ("pelvis_tz", False),
        ("pelvis_tilt", False),
        ("knee_angle_r_translation2", False),
        ("shoulder1_r2_l", False),
    ],
)
def test_posture_counts_the_tracked_joints(env, motion, joint, tracked):
    index = env.model.joint(joint).qposadr[0]
    _, terms = reward_at(env, moved(motion, **{f"q{index}": 0.1}), np.zeros(85))
    assert terms["posture"] == pytest.approx(-50 * 0.01 if tracked else 0.0, abs=1e-9)


def test_thirty_seven_joints_are_tracked(env, motion):
    _, terms = reward_at(env, motion["qpos_traj"][0] + 0.01, np.zeros(85))
    assert terms["posture"] == pytest.approx(-50 * 37 * 1e-4)


def test_activation_costs_its_norm_per_muscle(env):
    env.reset(seed=0, options={"phase": 0.0})
    env.data.act[:] = 1.0
    assert env._reward()[1]["activation"] == pytest.approx(-np.sqrt(700) / 700)


@pytest.mark.parametrize(
    ("changes", "healthy"),
    [
        ({}, True),
        # Pelvis at 0.61 m and 0.59 m, sternum at 1.08 m and 1.06 m.
        ({"q1": -0.31}, True),
        ({"q1": -0.33}, False),
        # Spine bent at two joints: pelvis at 0.67 m, sternum at 0.95 m.
        ({"q1": -0.25, "q36": 0.8, "q39": 0.8}, False),
        ({"q5": 0.27}, True),  # rotation of the root from 0.126 to 0.396
        ({"q5": 0.28}, False),
        ({"q2": 2.9}, True),
        ({"q2": 3.1}, False),  # further than 3 from the target
    ],
)
def test_health(env, motion, changes, healthy):
    _, terms = reward_at(env, moved(motion, **changes), np.zeros(85))
    assert terms["healthy"] == (100.0 if healthy else 0.0)
    assert env._fallen() is not healthy


def test_step_tracks_the_target_of_its_beginning_and_fills_the_observation(env, motion):
    env.reset(seed=0, options={"phase": 0.25})
    first_target = env.motion.at(0.25 * 1.17)
    beside = mujoco.MjData(env.model)
    beside.qpos[:], beside.qvel[:] = first_target
    mujoco.mj_forward(env.model, beside)
    action = np.linspace(0, 1, 700, dtype=np.float32)
    observation, reward, _, truncated, terms = env.step(action)
    beside.ctrl[:] = action
    for _ in range(10):
        mujoco.mj_step(env.model, beside)
    parts = [
        beside.qpos,
        beside.qvel,
        beside.qacc,
        beside.act,
        np.clip(beside.actuator_force / 1000, -100, 100),
        beside.actuator_length,
        np.clip(beside.actuator_velocity, -100, 100),
        [0.02, 0.02 / 1.17],
        beside.body("pelvis").xpos,
        beside.body("sternum").xpos,
        first_target[0] - beside.qpos,
    ]
    expected = np.concatenate(parts)
    assert expected.shape == (3148,)
    np.testing.assert_allclose(observation, expected, rtol=1e-3, atol=1e-3)
    assert reward == pytest.approx(sum(terms[name] for name in terms if name != "diverged"))
    assert terms["joint_velocity"] == pytest.approx(-0.1 * np.linalg.norm(first_target[1] - beside.qvel), rel=1e-4)
    assert truncated is False
    np.testing.assert_array_equal(env.data.ctrl, action)


def test_run_and_dance_need_a_motion(motion, tmp_path):
    for entry_id in ("MSHuman700Run-v0", "MSHuman700Dance-v0"):
        with pytest.raises(ValueError, match="no public running or dancing motion"):
            make(entry_id)
    path = tmp_path / "run.npz"
    np.savez(path, **motion)
    env = make("MSHuman700Run-v0", motion_path=path)
    # Without a target speed it is the motion's own: stride over period.
    assert env.target_speed == pytest.approx(float(motion["stride"]) / 1.17)


def test_motion_that_would_end_at_once_is_refused(motion, tmp_path):
    path = tmp_path / "turn.npz"
    motion = {**motion, "qpos_traj": motion["qpos_traj"].copy()}
    motion["qpos_traj"][:, 5] += 0.5
    np.savez(path, **motion)
    with pytest.raises(ValueError, match=r"max_rotation=0\.4 must be above"):
        make("MSHuman700Dance-v0", motion_path=path)
    make("MSHuman700Dance-v0", motion_path=path, max_rotation=1.0)
