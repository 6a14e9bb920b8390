"""What a decision of several frames sums, keeps and stops at, and success at any step."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex.envs import ActionRepeat, SuccessAtAnyStep


class Script(gym.Env):
    """Gives reward 1, 2, 3, ... and is solved at the steps that it is told; episodes of a fixed length."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), dtype=np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def __init__(self, solved_at=(), length=5, terminates=True):
        self.solved_at, self.length, self.terminates = solved_at, length, terminates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.step_number += 1
        solved, ended = self.step_number in self.solved_at, self.step_number == self.length
        info = {"solved": solved, "is_success": solved, "number": self.step_number}
        observation = np.full(1, self.step_number, dtype=np.float32)
        return observation, self.step_number, ended and self.terminates, ended and not self.terminates, info


def test_rewards_are_summed_and_success_is_kept() -> None:
    env = ActionRepeat(Script(solved_at=(1,)), repeat=3)
    env.reset()
    observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    assert (observation[0], reward, terminated, truncated) == (3, 1 + 2 + 3, False, False)
    assert info == {"solved": True, "is_success": True, "number": 3, "frames": 3}


@pytest.mark.parametrize("terminates", [True, False])
def test_the_end_of_an_episode_ends_a_decision(terminates: bool) -> None:
    env = ActionRepeat(Script(terminates=terminates), repeat=3)
    env.reset()
    env.step(np.zeros(1))
    observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    assert (observation[0], reward, terminated, truncated) == (5, 4 + 5, terminates, not terminates)
    assert info["frames"] == 2 and info["solved"] is False


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_decisions_is_held(share: float) -> None:
    frames = []
    for _ in range(2):
        env = ActionRepeat(Script(length=10**6), repeat=3)
        env.hold(3, share)
        env.reset(seed=0)
        frames.append([env.step(np.zeros(1))[-1]["frames"] for _ in range(1000)])
    # The seed of the environment decides which.
    assert frames[0] == frames[1] and set(frames[0]) == {0.0: {1}, 0.3: {1, 3}, 1.0: {3}}[share]
    assert frames[0].count(3) / 1000 == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"a number in \[0, 1\] is needed"):
        ActionRepeat(Script(), 2).hold(2, share)


def test_one_frame_changes_nothing() -> None:
    plain, repeated = Script(solved_at=(2,)), ActionRepeat(Script(solved_at=(2,)), repeat=1)
    plain.reset()
    repeated.reset()
    for _ in range(5):
        *given, info = repeated.step(np.zeros(1))
        *expected, expected_info = plain.step(np.zeros(1))
        assert given == expected and info == {**expected_info, "frames": 1}


def test_a_monitor_inside_counts_frames() -> None:
    env = make_vec_env(lambda: Script(), wrapper_class=ActionRepeat, wrapper_kwargs={"repeat": 2})
    env.reset()
    infos = [env.step(np.zeros((1, 1)))[3][0] for _ in range(3)]
    assert infos[-1]["episode"]["l"] == 5 and infos[-1]["episode"]["r"] == 15


@pytest.mark.parametrize("repeat", [0, 1.5, True])
def test_a_repeat_that_is_none_is_refused(repeat: object) -> None:
    with pytest.raises(ValueError, match=r"repeat=.*: a positive integer is needed"):
        ActionRepeat(Script(), repeat)  # type: ignore[arg-type]


def test_success_at_any_step_lasts_to_the_end_of_its_episode() -> None:
    env = SuccessAtAnyStep(Script(solved_at=(2,)))
    for _ in range(2):
        env.reset()
        assert [env.step(np.zeros(1))[4]["is_success"] for _ in range(5)] == [False, True, True, True, True]


def test_success_needs_its_entry() -> None:
    env = SuccessAtAnyStep(gym.make("Pendulum-v1"))
    env.reset()
    with pytest.raises(KeyError, match="info has no 'is_success'"):
        env.step(np.zeros(1, dtype=np.float32))
