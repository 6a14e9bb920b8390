"""The goals of MyoSuite's tasks, held against what the tasks themselves give."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("myosuite")

from sb3_qflex.envs import DistanceGoals
from sb3_qflex.envs.myo import MyoTask


def played(env: gym.Env, episodes: int = 2) -> list[tuple[np.ndarray, float, bool]]:
    """Observations, rewards and terminations under random actions."""
    steps = []
    env.action_space.seed(0)
    for seed in range(episodes):
        env.reset(seed=seed)
        ended = False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            steps.append((observation, reward, terminated))
            ended = terminated or truncated
    return steps


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("myoArmReachRandom-v0", {"far_th": 0.6}),
        ("myoFingerReachRandom-v0", {"weighted_reward_keys": {"reach": 2.0, "bonus": 1.0, "penalty": 5.0}}),
        ("myoHandReachRandom-v0", {}),
        ("myoHandObjHoldRandom-v0", {"weighted_reward_keys": {"goal_dist": 10.0, "bonus": 2.0, "penalty": 3.0}}),
        ("myoHandPoseRandom-v0", {"pose_thd": 5.0}),
        ("myoElbowPose1D6MRandom-v0", {}),
    ],
)
def test_the_rest_of_the_reward_does_not_know_the_goal(task, options):
    env = MyoTask(gym.make(task, **options))
    goals = env.hindsight_goals
    observations, rewards, ended = map(np.array, zip(*played(env), strict=True))
    assert goals.size == env.observation_space.shape[0]
    rest = rewards - goals.reward(observations)
    # What is left is the cost of activation, which poses alone have, and the penalty at an end.
    activation = np.linalg.norm(observations[:, -env.unwrapped.model.na :], axis=1) / env.unwrapped.model.na
    weight = env.unwrapped.rwd_keys_wt.get("act_reg", 0.0)
    penalty = env.unwrapped.rwd_keys_wt["penalty"] * np.array(ended)
    np.testing.assert_allclose(rest, -weight * activation - penalty, atol=1e-4)


@pytest.mark.parametrize("task", ["myoHandReachRandom-v0", "myoHandObjHoldRandom-v0", "myoHandPoseRandom-v0"])
def test_a_relabelled_observation_is_that_of_the_task_with_that_goal(task):
    """The same start and actions with two goals: one's observations become the other's."""
    env = MyoTask(gym.make(task))
    goals = env.hindsight_goals
    first, second = [], []
    for observations, seed in ((first, 1), (second, 2)):
        env.reset(seed=seed)
        qpos, qvel = np.zeros(env.unwrapped.model.nq), np.zeros(env.unwrapped.model.nv)
        if "ObjHold" in task:
            qpos = env.unwrapped._init_qpos.copy()
            env.unwrapped.model.geom_size[-1] = 0.022
        env.unwrapped.data.qpos[:], env.unwrapped.data.qvel[:] = qpos, qvel
        for _ in range(5):
            observations.append(env.step(np.full(env.action_space.shape, 0.3, np.float32))[0])
    first, second = np.array(first), np.array(second)
    asked = goals.achieved(second) + second[:, goals.error]
    assert goals.may_be_asked(asked).all()
    assert np.abs(first[:, goals.error] - second[:, goals.error]).max() > 1e-3
    np.testing.assert_allclose(goals.relabelled(first, asked), second, atol=1e-5)


def test_other_tasks_have_none():
    for task in ("myoHandPenTwirlRandom-v0", "myoLegStandRandom-v0"):
        assert MyoTask(gym.make(task)).hindsight_goals is None
    without = gym.make("myoFingerReachRandom-v0", obs_keys=["qpos", "qvel", "reach_err"])
    assert MyoTask(without).hindsight_goals is None


@pytest.mark.parametrize(
    ("reached", "error"), [(slice(0, 2), slice(2, 3)), (slice(0, 2), slice(4, 6)), (slice(0), slice(0))]
)
def test_goals_and_errors_are_as_many(reached, error):
    with pytest.raises(ValueError, match="of the 5 entries"):
        DistanceGoals(size=5, reached=reached, error=error, near=(0.1,))


def test_goals_outside_of_what_the_object_task_asks_for_are_not_taken():
    goals = MyoTask(gym.make("myoHandObjHoldRandom-v0")).hindsight_goals
    start = np.array([-0.235, -0.51, 1.45])
    offsets = np.array([[0.0, 0.0, 0.0], [0.029, -0.029, 0.029], [0.0, 0.0, -0.05]])
    assert goals.may_be_asked(start + offsets).tolist() == [True, True, False]
