"""Hindsight in flat observations: whose goals are replaced, by which, and what the returns become."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, small_model
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_qflex import HindsightReplayBuffer, QFlex, TrainingCheckpoint
from sb3_qflex.envs import ActionRepeat, AliveBonus, DistanceGoals, SparseReward

#: An observation is what is reached, and the goal minus that; a step within 0.5 of the goal pays 4.
GOALS = DistanceGoals(size=2, reached=slice(0, 1), error=slice(1, 2), near=(0.5,))
GOAL = 1000.0
LENGTH = 5


class Walk(gym.Env):
    """Every step goes one on, from 0 to 5; the goal is far away."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    hindsight_goals = GOALS

    def observation(self) -> np.ndarray:
        return np.array([self.at, GOAL - self.at], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.at = 0
        return self.observation(), {}

    def step(self, action: np.ndarray):
        self.at += 1
        observation = self.observation()
        return observation, float(GOALS.reward(observation)), self.at >= LENGTH, False, {}


def filled(buffer_class: Any, rows: int, capacity: int, bonus: float = 0.0, **kwargs: Any) -> Any:
    """Two walks beside each other, of which the second stands one step further on and 100 away."""
    space = Walk.observation_space
    buffer = buffer_class(2 * capacity, space, Walk.action_space, device="cpu", n_envs=2, gamma=0.5, **kwargs)
    for row in range(rows):
        step = np.array([row, row + 1]) % LENGTH
        offset = np.array([0.0, 100.0])
        before, after = (np.stack([at, GOAL - at], axis=1) for at in (offset + step, offset + step + 1))
        done = step == LENGTH - 1
        # Every second episode of the first walk ends by a time limit.
        cut = (np.arange(2) == 0) & (row // LENGTH % 2 == 1)
        infos = [{"TimeLimit.truncated": bool(c)} for c in cut & done]
        buffer.add(before, after, np.zeros((2, 1)), GOALS.reward(after) + bonus, done, infos)
    return buffer


@pytest.mark.parametrize("n_steps", [1, 3, 8])
@pytest.mark.parametrize("rows", [3, 23, 40])
def test_without_new_goals_it_is_the_buffer_of_sb3(rows: int, n_steps: int) -> None:
    hindsight = filled(HindsightReplayBuffer, rows, 31, goals=GOALS, her_ratio=0.0, n_steps=n_steps)
    plain = filled(NStepReplayBuffer, rows, 31, n_steps=n_steps)
    batches = []
    for buffer in (hindsight, plain):
        np.random.seed(0)
        batches.append(buffer.sample(300))
    for ours, theirs in zip(*batches, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bonus", [0.0, 10.0])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("rows", [23, 40])
def test_new_goals_were_reached_later_in_the_episode(rows: int, n_steps: int, bonus: float) -> None:
    buffer = filled(HindsightReplayBuffer, rows, 31, bonus, goals=GOALS, her_ratio=1.0, n_steps=n_steps)
    kept = buffer.observations.copy(), buffer.next_observations.copy(), buffer.rewards.copy()
    np.random.seed(0)
    batch = buffer.sample(500)
    start, error = batch.observations.numpy().T
    after, error_after = batch.next_observations.numpy().T
    goal = start + error
    np.testing.assert_array_equal(goal, after + error_after)
    origin = start // 100 * 100
    assert (goal > start).all() and (goal <= origin + LENGTH).all()
    steps = after - start
    assert (batch.discounts.numpy()[:, 0] == 0.5**steps).all() and steps.max() == n_steps
    # The return of each step on the way, for the new goal, and what was added to it in the task.
    on_the_way = start[:, None] + 1 + np.arange(n_steps)
    distance = np.abs(goal[:, None] - on_the_way)
    rewards = np.where(np.arange(n_steps) < steps[:, None], 4.0 * (distance < 0.5) - distance + bonus, 0.0)
    np.testing.assert_allclose(batch.rewards.numpy()[:, 0], rewards @ 0.5 ** np.arange(n_steps), rtol=1e-5)
    # Terminations are the task's: the second walk has no time limits.
    at_end = after == origin + LENGTH
    ends = batch.dones.numpy()[:, 0] == 1
    assert not ends[~at_end].any() and ends[at_end & (origin == 100)].all()
    assert set(ends[at_end & (origin == 0)]) == {True, False}
    for before, now in zip(kept, (buffer.observations, buffer.next_observations, buffer.rewards), strict=True):
        np.testing.assert_array_equal(before, now)


def waits(rows: int = 5, **options: Any) -> np.ndarray:
    """How many steps after the first one of the episode its goals were reached."""
    buffer = filled(HindsightReplayBuffer, rows, 31, goals=GOALS, her_ratio=1.0, **options)
    np.random.seed(0)
    starts = buffer._get_samples(np.zeros(4000, dtype=int)).observations.numpy()
    first = starts[starts[:, 0] == 0]
    return first[:, 1].astype(int) - 1


def test_goals_are_uniform_over_the_rest_of_the_episode_or_the_horizon() -> None:
    for options, steps in (({}, 5), ({"horizon": 2}, 3), ({"horizon": 1, "n_steps": 4}, 2), ({"rows": 4}, 4)):
        found, counts = np.unique(waits(**options), return_counts=True)
        assert found.tolist() == list(range(steps))
        np.testing.assert_allclose(counts / counts.sum(), 1 / steps, atol=0.04)


def test_a_share_of_the_batch_gets_goals_that_the_task_could_ask_for() -> None:
    buffer = filled(HindsightReplayBuffer, 23, 31, goals=GOALS, her_ratio=0.3)
    np.random.seed(0)
    replaced = buffer.sample(4000).observations.numpy().sum(axis=1) != GOAL
    assert np.mean(replaced) == pytest.approx(0.3, abs=0.03)
    some = DistanceGoals(size=2, reached=slice(0, 1), error=slice(1, 2), near=(0.5,), low=[2.0], high=[50.0])
    buffer = filled(HindsightReplayBuffer, 23, 31, goals=some, her_ratio=1.0)
    asked = set(buffer.sample(2000).observations.numpy().sum(axis=1))
    assert asked == {2.0, 3.0, 4.0, 5.0, GOAL}


def test_goals_are_replaced_before_observations_and_rewards_are_normalised() -> None:
    env = VecNormalize(DummyVecEnv([Walk]), norm_reward=True)
    env.obs_rms.mean, env.obs_rms.var, env.ret_rms.var = np.array([1.0, 2.0]), np.array([4e4, 4e4]), np.array(2.5e5)
    buffer = filled(HindsightReplayBuffer, 23, 31, goals=GOALS, her_ratio=1.0)
    batches = []
    for normalise in (env, None):
        np.random.seed(0)
        batches.append(buffer.sample(50, env=normalise))
    np.testing.assert_allclose(
        batches[0].observations, (batches[1].observations - np.array([1.0, 2.0])) / 200, atol=1e-5
    )
    np.testing.assert_allclose(batches[0].rewards, batches[1].rewards / 500, rtol=1e-5)


def test_a_resumed_training_draws_as_one_that_was_not_broken_off(tmp_path: Path) -> None:
    def model() -> QFlex:
        return small_model(
            make_vec_env(Walk, 2), replay_buffer_class=HindsightReplayBuffer, exploration="source", buffer_size=60,
            replay_buffer_kwargs={"her_ratio": 0.7, "horizon": 3}, n_steps=2,
        )  # fmt: skip

    whole = model().learn(90)
    assert type(whole.replay_buffer) is HindsightReplayBuffer and whole.replay_buffer.goals == GOALS
    with pytest.raises(ConnectionAbortedError):
        model().learn(90, [TrainingCheckpoint(tmp_path / "run", every=20), BreakOff(76)])
    resumed = QFlex.resume(tmp_path / "run", make_vec_env(Walk, 2), device="cpu")
    resumed.learn(90 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))

    whole.save(tmp_path / "model")
    whole.save_replay_buffer(tmp_path / "buffer")
    loaded = QFlex.load(tmp_path / "model", device="cpu")
    with pytest.raises(ValueError, match="needs the environment"):
        loaded.replay_buffer  # noqa: B018
    loaded = QFlex.load(tmp_path / "model", make_vec_env(Walk, 2), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert (loaded.replay_buffer.goals, loaded.replay_buffer.her_ratio) == (GOALS, 0.7)


def test_wrappers_that_add_to_the_reward_are_fine_and_those_that_sum_it_are_not() -> None:
    small_model(AliveBonus(Walk(), 10.0), replay_buffer_class=HindsightReplayBuffer).learn(30)
    for env in (ActionRepeat(Walk(), 2), SparseReward(Walk()), BoxEnv()):
        with pytest.raises(ValueError, match="hindsight_goals"):
            small_model(env, replay_buffer_class=HindsightReplayBuffer)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"her_ratio": 1.5}, ValueError, r"her_ratio must be a number in \[0, 1\], not 1.5"),
        ({"horizon": 0}, ValueError, "horizon must be an integer of at least 1, not 0"),
        ({"her_rate": 0.5}, TypeError, "no option 'her_rate', did you mean 'her_ratio'"),
    ],
)
def test_bad_arguments_are_refused_when_the_model_is_made(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small_model(Walk(), replay_buffer_class=HindsightReplayBuffer, replay_buffer_kwargs=options)


def test_goals_of_other_observations_are_refused() -> None:
    class Wider(gym.ObservationWrapper):
        observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

        def observation(self, observation: np.ndarray) -> np.ndarray:
            return np.append(observation, 0.0).astype(np.float32)

    with pytest.raises(ValueError, match=r"shape \(2,\), and the model's have \(3,\)"):
        small_model(Wider(Walk()), replay_buffer_class=HindsightReplayBuffer)
