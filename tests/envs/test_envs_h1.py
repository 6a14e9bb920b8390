"""Unitree H1: rewards and ends worked out by hand at chosen states, and steps against MuJoCo run beside them."""

import numpy as np
import pytest
from helpers.envs_assets import make, needs

mujoco = pytest.importorskip("mujoco")

# Straight legs and arms, upright: the head's site is 0.7 m above the pelvis.
JOINTS = [0.0] * 19
UPRIGHT = [1.0, 0.0, 0.0, 0.0]
LYING = [np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]
BOARD = [0.0, 0.0, 0.37, 1.0, 0.0, 0.0, 0.0]
FAR_BOARD = [5.0, *BOARD[1:]]


@pytest.fixture(scope="module")
def run():
    return make("H1Run-v0")


@pytest.fixture(scope="module")
def balance():
    return make("H1BalanceSimple-v0")


def run_at(run, height=1.2, rotation=UPRIGHT, velocity=0.0, joints=JOINTS):
    qvel = np.zeros(25)
    qvel[0] = velocity
    observation, _ = run.reset(seed=0, options={"qpos": [0.0, 0.0, height, *rotation, *joints], "qvel": qvel})
    return observation, *run._reward()


@needs("H1Run-v0")
class TestRun:
    def test_observation_is_positions_then_velocities(self, run):
        observation = run_at(run, height=1.25, velocity=1.5)[0]
        expected = [0, 0, 1.25, 1, 0, 0, 0, *JOINTS, 1.5, *[0] * 24]
        np.testing.assert_array_equal(observation, np.array(expected, dtype=np.float32))

    @pytest.mark.parametrize(
        ("height", "rotation", "velocity", "expected"),
        [
            # Head at 1.9 m, upright, no force at rest: only the speed counts, (5 m + 1) / 6.
            (1.2, UPRIGHT, 0.0, 1 / 6),
            (1.2, UPRIGHT, 2.5, (5 * 0.5 + 1) / 6),
            (1.2, UPRIGHT, 6.0, 1.0),
            (1.2, UPRIGHT, -1.0, 1 / 6),
            # Head 0.2 m too low, at 1.45 m: 0.1 ** ((0.2 / 0.4125) ** 2).
            (0.75, UPRIGHT, 0.0, 0.1 ** (0.23508) / 6),
            # Lying at 1.5 m: the torso's axis is horizontal, 1 - 0.9 / 1.9; the head 0.15 m too low.
            (1.5, LYING, 0.0, (1 - 0.9 / 1.9) * 0.1 ** (0.132231) / 6),
        ],
    )
    def test_reward_at_known_states(self, run, height, rotation, velocity, expected):
        assert run_at(run, height, rotation, velocity)[1] == pytest.approx(expected, rel=1e-5)

    def test_force_lowers_the_reward(self, run):
        # Hips have a gain of 200 N m / rad: 0.02 rad off its control, the first one pulls with 4 N m, worth
        # 1 - 0.4 ** 2; the knee's 0.1 rad are 30 N m, worth nothing.
        joints = [0.02, 0, 0, 0.1, *[0.0] * 15]
        _, reward, terms = run_at(run, velocity=6.0, joints=joints)
        small_control = (4 + (17 + 0.84) / 19) / 5
        assert terms["small_control"] == pytest.approx(small_control, rel=1e-6)
        assert reward == pytest.approx(small_control, rel=1e-5)

    def test_ends_with_the_pelvis_below_a_fifth_of_a_metre(self, run):
        run_at(run, height=0.21, rotation=LYING)
        assert not run._fallen()
        run_at(run, height=0.19, rotation=LYING)
        assert run._fallen()

    def test_actions_span_the_control_ranges(self, run):
        limits = {-1.0: [-0.43, -0.43, -3.14, -0.26], 0.0: [0, 0, -0.305, 0.895], 1.0: [0.43, 0.43, 2.53, 2.05]}
        for action, expected in limits.items():
            run.reset(seed=0)
            run.step(np.full(19, action, dtype=np.float32))
            np.testing.assert_allclose(run.data.ctrl[:4], expected, atol=1e-6)

    def test_step_is_ten_steps_of_the_simulation(self, run):
        run.reset(seed=3)
        beside = mujoco.MjData(run.model)
        beside.qpos[:], beside.qvel[:] = run.data.qpos, run.data.qvel
        action = np.linspace(-0.5, 0.5, 19, dtype=np.float32)
        observation, _, _, _, info = run.step(action)
        low, high = run.model.actuator_ctrlrange.T
        beside.ctrl[:] = low + (action + 1) / 2 * (high - low)
        for _ in range(10):
            mujoco.mj_step(run.model, beside)
        np.testing.assert_allclose(observation, [*beside.qpos, *beside.qvel], rtol=1e-5, atol=1e-6)
        assert beside.time == pytest.approx(0.02)
        speed = beside.sensor("pelvis_subtreelinvel").data[0]
        assert info["move"] == pytest.approx(np.clip(speed / 5, 0, 1), abs=1e-7)

    def test_starts_near_the_key_pose_at_rest(self, run):
        starts = [run.reset(seed=seed)[0] for seed in range(5)]
        key = run.model.key("qpos0").qpos
        for start in starts:
            assert np.abs(start[:26] - key).max() <= 0.01 + 1e-6
            assert (start[26:] == 0).all()
        assert len({start[0] for start in starts}) == 5


def balance_at(balance, base, board=BOARD, velocity=(0.0, 0.0)):
    qvel = np.zeros(31)
    qvel[:2] = velocity
    balance.reset(seed=0, options={"qpos": [*base, *UPRIGHT, *JOINTS, *board], "qvel": qvel})


@needs("H1BalanceSimple-v0")
class TestBalance:
    @pytest.mark.parametrize(
        ("height", "velocity", "expected"),
        [
            # Head at 2.1 m, above 2.02 m, at rest.
            (1.4, (0.0, 0.0), 1.0),
            # 1 m/s sideways: 0.1 ** (1 / 2) ** 2 in one of two directions.
            (1.4, (0.0, 1.0), (1 + 0.1**0.25) / 2),
            (1.4, (2.0, 1.0), (0.1 + 0.1**0.25) / 2),
            # Head at 1.9 m, 0.12 m too low.
            (1.2, (0.0, 0.0), 0.1 ** ((0.12 / 0.4125) ** 2)),
        ],
    )
    def test_reward_at_known_states(self, balance, height, velocity, expected):
        balance_at(balance, (0.0, 0.0, height), velocity=velocity)
        assert balance._reward()[0] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(
        ("base", "board", "fallen"),
        [
            # High above a board that rests on the sphere, and the sphere on the floor.
            ((0.0, 0.0, 1.6), BOARD, False),
            # Pelvis at 0.79 m, nothing of the robot near sphere or floor but its feet.
            ((0.0, 0.0, 0.79), BOARD, True),
            # Beside the board: the feet reach into the floor.
            ((3.0, 0.0, 0.95), BOARD, True),
            # The board is elsewhere and in the air; the left foot, 0.2 m to the side, is in the sphere.
            ((0.0, -0.2, 1.25), FAR_BOARD, True),
            ((0.0, 0.0, 1.6), FAR_BOARD, False),
            # The board on the floor.
            ((0.0, 0.0, 1.6), [5.0, 0.0, 0.02, 1.0, 0.0, 0.0, 0.0], True),
        ],
    )
    def test_ends_on_wrong_contacts(self, balance, base, board, fallen):
        balance_at(balance, base, board)
        assert balance._fallen() is fallen
