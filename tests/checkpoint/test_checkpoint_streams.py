"""Replay data with another number of environments: laid anew by the streams it came from."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, ReachEnv, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlex, TrainingCheckpoint
from sb3_qflex.checkpoint.streams import relay
from sb3_qflex.common.replay import cut_streams

BOX = spaces.Box(-np.inf, np.inf, (1,), np.float32)
EPISODE = 7


def numbered(n_envs: int, steps: int, size: int, kind: type = ReplayBuffer, **kwargs: Any) -> ReplayBuffer:
    """Transitions from 100 env + step to one more; episodes of 7 steps."""
    buffer = kind(size * n_envs, BOX, BOX, n_envs=n_envs, device="cpu", **kwargs)
    first = 100.0 * np.arange(n_envs)[:, None]
    for step in range(steps):
        done = np.full(n_envs, step % EPISODE == EPISODE - 1)
        buffer.add(first + step, first + step + 1, np.zeros((n_envs, 1)), np.full(n_envs, step), done, [{}] * n_envs)
    return buffer


@pytest.mark.parametrize(
    "n_source, n_target, steps, size", [(4, 2, 10, 30), (2, 3, 10, 30), (3, 1, 25, 12), (1, 5, 9, 9)]
)
def test_streams_are_laid_end_to_end(n_source, n_target, steps, size):
    source = numbered(n_source, steps, size)
    kept = min(steps, size)
    whole = [100 * env + step for env in range(n_source) for step in range(steps - kept, steps)]
    target = ReplayBuffer(10 * n_target * steps, BOX, BOX, n_envs=n_target, device="cpu")
    dropped = relay(source, target)
    length = n_source * kept // n_target
    assert dropped == n_source * kept - length * n_target
    assert (target.pos, target.full) == (length, False)
    laid = target.observations[:length, :, 0]
    np.testing.assert_array_equal(np.diff(whole)[0], 1)
    for env in range(n_target):
        start = whole.index(laid[0, env])
        np.testing.assert_array_equal(laid[:, env], whole[start : start + length])
    np.testing.assert_array_equal(target.next_observations[:length], target.observations[:length] + 1)
    # An episode or a mark wherever the next row is not what came next, and nowhere else.
    cut = np.ones((length, n_target), dtype=bool)
    cut[:-1] = np.diff(laid, axis=0) != 1
    ended = target.rewards[:length] % EPISODE == EPISODE - 1
    np.testing.assert_array_equal(target.dones[:length] == 1, cut | ended)
    np.testing.assert_array_equal(target.timeouts[:length] == 1, cut & ~ended)


def test_a_smaller_ring_keeps_the_last_of_each_part():
    target = ReplayBuffer(10, BOX, BOX, n_envs=2, device="cpu")
    assert relay(numbered(2, 9, 20), target) == 8
    assert (target.full, target.pos) == (True, 0)
    np.testing.assert_array_equal(target.observations[:, :, 0].T, [[4, 5, 6, 7, 8], [104, 105, 106, 107, 108]])


def test_nothing_to_lay():
    target = ReplayBuffer(10, BOX, BOX, n_envs=2, device="cpu")
    assert relay(numbered(3, 0, 5), target) == 0
    assert target.size() == 0


def test_n_step_returns_end_at_the_cut():
    target = NStepReplayBuffer(40, BOX, BOX, n_envs=1, device="cpu", n_steps=3, gamma=1.0)
    relay(numbered(2, 4, 10, NStepReplayBuffer, n_steps=3, gamma=1.0), target)
    samples = target._get_samples(np.arange(8))
    # Rewards 0, 1, 2, 3 of either stream.
    assert samples.rewards[:, 0].tolist() == [3, 6, 5, 3, 3, 6, 5, 3]
    assert not samples.dones.any()
    assert samples.next_observations[:, 0].tolist() == [3, 4, 4, 4, 103, 104, 104, 104]


def test_without_timeouts_the_cut_counts_as_an_end():
    source = numbered(2, 4, 10, optimize_memory_usage=True, handle_timeout_termination=False)
    cut_streams(source)
    np.testing.assert_array_equal(source.dones[:5], [[0, 0], [0, 0], [0, 0], [1, 1], [0, 0]])
    assert not source.timeouts.any()


@pytest.mark.parametrize("n_envs", [1, 2, 5])
def test_resuming_with_another_number_of_environments(n_envs, tmp_path, caplog):
    def env(n):
        return VecNormalize(make_vec_env(BoxEnv, n))

    noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), 0.1 * np.ones(2))
    model = small_model(env(3), action_noise=noise)
    model.learn(66, TrainingCheckpoint(tmp_path))
    resumed = QFlex.resume(tmp_path, env(n_envs), device="cpu")
    assert f"of 3 environments and goes on with {n_envs}: {66 - 66 % n_envs} transitions" in caplog.text
    assert (resumed.num_timesteps, resumed.replay_buffer.pos) == (66, 66 // n_envs)
    np.testing.assert_array_equal(resumed.env.obs_rms.mean, model.env.obs_rms.mean)
    updates = resumed._n_updates
    resumed.learn(20, TrainingCheckpoint(tmp_path), reset_num_timesteps=False)
    assert resumed._n_updates > updates
    again = QFlex.resume(tmp_path, env(n_envs), device="cpu")
    np.testing.assert_array_equal(again.replay_buffer.observations, resumed.replay_buffer.observations)


def test_episodes_of_her_are_found_again(tmp_path):
    options = {"replay_buffer_class": HerReplayBuffer, "learning_starts": 40, "buffer_size": 80}
    model = small_model(make_vec_env(ReachEnv, 4), "MultiInputPolicy", **options)
    model.learn(100, TrainingCheckpoint(tmp_path))
    resumed = QFlex.resume(tmp_path, make_vec_env(ReachEnv, 2), device="cpu")
    buffer = resumed.replay_buffer
    # A ring of 20 rows, full: of each stream the steps 5 to 24, with ends after 9, 19 and the cut.
    assert (buffer.pos, buffer.full) == (0, True)
    assert buffer.ep_length[:, 0].tolist() == 2 * (5 * [5] + 10 * [10] + 5 * [5])
    assert buffer.ep_start[:, 0].tolist() == 5 * [0] + 10 * [5] + 5 * [15] + 5 * [20] + 10 * [25] + 5 * [35]
    achieved, wanted = (buffer.next_observations[key][:, 0] for key in ("achieved_goal", "desired_goal"))
    assert len({tuple(goal) for goal in wanted[5:15]}) == 1
    assert np.abs(np.diff(achieved[5:15], axis=0)).max() < 0.21
    assert th.isfinite(buffer.sample(32).rewards).all()
    resumed.learn(20, reset_num_timesteps=False)
