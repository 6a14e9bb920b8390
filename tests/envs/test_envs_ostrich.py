"""The ostrich's run: observation, reward and end against MuJoCo's own quantities and chosen states."""

import numpy as np
import pytest
from helpers.envs_assets import make, needs

mujoco = pytest.importorskip("mujoco")

pytestmark = needs("OstrichRun-v0")


@pytest.fixture(scope="module")
def env():
    return make("OstrichRun-v0")


def at(env, qvel=None, **coordinates):
    qpos = np.zeros(56)
    for name, value in coordinates.items():
        qpos[env.model.joint(name).qposadr[0]] = value
    return env.reset(seed=0, options={"qpos": qpos, "qvel": np.zeros(56) if qvel is None else qvel})[0]


def test_start_is_the_models_pose_at_rest(env):
    observation = env.reset(seed=1)[0]
    np.testing.assert_array_equal(env.data.qpos, env.model.qpos0)
    assert not env.data.qvel.any()
    np.testing.assert_array_equal(observation, env.reset(seed=2)[0])


def test_raising_the_root_raises_the_four_heights_only(env):
    low, high = at(env), at(env, root_z=0.25)
    difference = high - low
    np.testing.assert_allclose(difference[:4], 0.25, atol=1e-6)
    # qpos without its first coordinate follows, in which root_z is the second.
    assert difference[5] == pytest.approx(0.25)
    assert not difference[6:235].any()
    np.testing.assert_allclose(difference[235:], 0, atol=1e-5)


def test_forward_position_is_hidden(env):
    np.testing.assert_allclose(at(env), at(env, root_x=7.0), atol=1e-5)


@pytest.mark.parametrize("speed", [-1.0, 0.0, 3.5])
def test_reward_is_the_forward_speed(env, speed):
    qvel = np.zeros(56)
    qvel[0] = speed
    observation = at(env, qvel)
    assert env._reward()[0] == pytest.approx(speed, abs=1e-9)
    assert observation[595] == np.float32(env._reward()[0])
    assert observation[59] == np.float32(speed)


def test_velocities_are_clipped(env):
    qvel = np.zeros(56)
    qvel[0], qvel[1] = 250.0, -250.0
    observation = at(env, qvel)
    np.testing.assert_array_equal(observation[59:61], [100.0, -100.0])
    assert observation[595] == np.float32(250.0)


def test_step_is_ten_substeps_and_every_part_is_in_its_place(env):
    at(env, root_z=0.1)
    beside = mujoco.MjData(env.model)
    beside.qpos[:] = env.data.qpos
    mujoco.mj_forward(env.model, beside)
    action = np.linspace(-1, 1, 120, dtype=np.float32)
    observation, reward, terminated, truncated, _ = env.step(action)
    beside.ctrl[:] = action
    for _ in range(10):
        mujoco.mj_step(env.model, beside)
    heights = [
        beside.body("head").xpos[2],
        beside.geom("pelvis").xpos[2],
        beside.body("r_pes").xpos[2],
        beside.body("l_pes").xpos[2],
    ]
    parts = [
        heights,
        beside.qpos[1:],
        np.clip(beside.qvel, -100, 100),
        beside.act,
        beside.actuator_force / 1000,
        beside.actuator_length,
        np.clip(beside.actuator_velocity, -100, 100),
        [beside.sensordata[0]],
    ]
    expected = np.concatenate(parts)
    assert expected.shape == (596,)
    np.testing.assert_allclose(observation, expected, rtol=1e-4, atol=1e-5)
    assert reward == pytest.approx(beside.sensordata[0], abs=1e-7)
    assert (terminated, truncated) == (False, False)
    # Excitation below 0 is none: the last muscle is active after a step, the first is not.
    assert beside.act[0] == 0.0 < beside.act[-1]


def test_ends_when_it_is_low_or_pitched(env):
    pelvis = at(env)[1]
    assert not env._fallen()
    at(env, root_z=0.62 - pelvis)
    low_head = env.data.body("head").xpos[2] < 0.9
    assert env._fallen() is bool(low_head)
    at(env, root_z=0.58 - pelvis)
    assert env._fallen()
    for pitch, fallen in ((0.79, False), (0.81, True), (-0.81, True)):
        # Raised, so that only the angle decides.
        at(env, root_z=2.0, root_rot_y=pitch)
        assert env._fallen() is fallen
    at(env, root_z=0.89 - env.reset(seed=0)[0][0])
    assert env._fallen()
