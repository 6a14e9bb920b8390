"""The SMPL humanoid's jump: observation and reward worked out by hand from the T-pose."""

from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.envs_assets import make, needs

mujoco = pytest.importorskip("mujoco")

pytestmark = needs("SMPLHumanoidJump-v0")

POSITIONS, ROTATIONS, LINEAR, ANGULAR = 1, 70, 214, 286


@pytest.fixture(scope="module")
def env():
    return make("SMPLHumanoidJump-v0")


def at(env, height=0.94, velocity=(0.0, 0.0, 0.0), spin=(0.0, 0.0, 0.0), rotation=None):
    qpos, qvel = np.zeros(76), np.zeros(75)
    qpos[2] = height
    qpos[3:7] = [np.sqrt(0.5), np.sqrt(0.5), 0, 0] if rotation is None else rotation
    qvel[:3], qvel[3:6] = velocity, spin
    return env.reset(seed=0, options={"qpos": qpos, "qvel": qvel})[0]


def height_above_pelvis(env, name):
    """Sum of the y offsets (up in the T-pose) along the chain of bodies, read from the file itself."""
    bodies = ElementTree.parse(env.fullpath).getroot().iter("body")
    parents = {child: parent for parent in bodies for child in parent.findall("body")}
    body = next(body for body in parents if body.get("name") == name)
    total = 0.0
    while body in parents:
        total += float(body.get("pos").split()[1])
        body = parents[body]
    return total


def test_start_is_the_t_pose(env):
    first, second = env.reset(seed=1)[0], env.reset(seed=2)[0]
    np.testing.assert_array_equal(first, at(env))
    np.testing.assert_array_equal(first, second)


def test_observation_of_the_t_pose(env):
    observation = at(env)
    assert observation.shape == (358,)
    assert observation[0] == np.float32(0.94)
    # The left hip is at (0.0695, -0.0914, -0.0068) of the pelvis. +90 degrees about x turns it to
    # (0.0695, 0.0068, -0.0914); the root's z axis then points along -y, so the heading is -90 degrees and turning
    # back maps (x, y) to (-y, x).
    np.testing.assert_allclose(observation[POSITIONS : POSITIONS + 3], [-0.0068, 0.0695, -0.0914], atol=1e-6)
    # Root axis x: stays x, becomes y. Root axis z: -y, becomes x.
    np.testing.assert_allclose(observation[ROTATIONS : ROTATIONS + 6], [0, 1, 0, 1, 0, 0], atol=1e-6)
    # Every body is parallel to the root in the T-pose.
    np.testing.assert_allclose(observation[ROTATIONS:LINEAR].reshape(24, 6), 24 * [[0, 1, 0, 1, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(observation[LINEAR:], 0)


def test_velocities_are_in_the_heading_frame(env):
    linear = at(env, velocity=(0.3, -0.2, 0.5))[LINEAR:ANGULAR].reshape(24, 3)
    np.testing.assert_allclose(linear, 24 * [[0.2, 0.3, 0.5]], atol=1e-6)
    # A free joint spins about the root's own axes: its y is the vertical.
    angular = at(env, spin=(0.0, 1.0, 0.0))[ANGULAR:].reshape(24, 3)
    np.testing.assert_allclose(angular, 24 * [[0, 0, 1]], atol=1e-6)


def test_observation_does_not_depend_on_the_heading(env):
    rng = np.random.default_rng(0)
    rotation = rng.normal(size=4)
    rotation /= np.linalg.norm(rotation)
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, np.array([np.cos(0.6), 0, 0, np.sin(0.6)]), rotation)
    velocity = np.array([0.4, -1.0, 0.2])
    cosine, sine = np.cos(1.2), np.sin(1.2)
    velocity_turned = [cosine * 0.4 + sine * 1.0, sine * 0.4 - cosine * 1.0, 0.2]
    spin = rng.normal(size=3)
    one = at(env, 1.5, velocity, spin, rotation)
    other = at(env, 1.5, velocity_turned, spin, turned)
    np.testing.assert_allclose(one, other, atol=2e-5)
    assert np.abs(one[LINEAR:]).max() > 0.1


@pytest.mark.parametrize(
    ("height", "upward", "velocity"), [(0.94, 2.5, 0.5), (0.94, -1.0, 0.0), (0.94, 6.0, 1.0), (2.0, 5.0, 1.0)]
)
def test_reward_of_the_t_pose(env, height, upward, velocity):
    at(env, height, velocity=(0.0, 0.0, upward))
    head = height + height_above_pelvis(env, "Head")
    # Upright is 1; the head's height is worth 1 from 2.0 to 2.1 m and 0.01 at 2 m from there.
    distance = max(2.0 - head, head - 2.1, 0.0)
    assert env._reward()[0] == pytest.approx(max(1 - 0.99 * distance / 2, 0) * velocity, rel=1e-5)


def test_lying_on_the_back_is_worth_less(env):
    # Without the start's rotation the body's up axis y is horizontal: 1 - 0.9 / 1.9. The head is at the root's
    # height up to its z offset.
    at(env, 2.05, velocity=(0.0, 0.0, 5.0), rotation=[1, 0, 0, 0])
    _, terms = env._reward()
    assert terms["upright"] == pytest.approx(1 - 0.9 / 1.9, rel=1e-6)
    assert terms["height"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("height", "rotation", "fallen"),
    [
        (0.21, None, False),
        # Upright, the pelvis at 0.19 m.
        (0.19, None, True),
        # On the back, head and pelvis at nearly the same height: the head's 0.5 m decide.
        (0.6, [1, 0, 0, 0], False),
        (0.4, [1, 0, 0, 0], True),
    ],
)
def test_ends_with_a_low_head_or_pelvis(env, height, rotation, fallen):
    at(env, height, rotation=rotation)
    assert env._fallen() is fallen


def test_step_is_fifteen_substeps_with_sensors_brought_up_to_date(env):
    at(env, 1.2, velocity=(0.5, 0.0, 1.0))
    beside = mujoco.MjData(env.model)
    beside.qpos[:], beside.qvel[:] = env.data.qpos, env.data.qvel
    action = np.linspace(-0.3, 0.3, 69, dtype=np.float32)
    for _ in range(2):
        observation, _, _, _, info = env.step(action)
        beside.ctrl[:] = action
        for _ in range(15):
            mujoco.mj_step(env.model, beside)
    mujoco.mj_forward(env.model, beside)
    assert beside.time == pytest.approx(2 / 30)
    assert observation[0] == pytest.approx(beside.body("Pelvis").xpos[2], rel=1e-6)
    assert info["velocity"] == pytest.approx(
        np.clip(beside.sensor("Chest_subtreelinvel").data[2] / 5, 0, 1), rel=1e-6, abs=1e-9
    )
    speeds = np.linalg.norm(observation[LINEAR:ANGULAR].reshape(24, 3), axis=1)
    np.testing.assert_allclose(speeds, np.linalg.norm(beside.sensordata[:72].reshape(24, 3), axis=1), rtol=1e-4)
