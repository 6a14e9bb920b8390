"""What a model that was trained before finds when ``learn`` is called again, or when it is loaded with settings."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers.small_models import BoxEnv, bit_flipping, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import ConvertCallback, EveryNTimesteps

from sb3_qflex import QSM, MaxInfoSAC, QFlex, RepeatUntil, TrainingCheckpoint
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.envs import ActionRepeat


class Counting(gym.Env):
    """Observations are the episode's number and the step in it; the reward is 100 in the second episode, and 0."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    episode = -1

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        self.episode, self.step_ = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action: np.ndarray):
        self.step_ += 1
        return self._observation(), 100.0 * self.episode, False, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.episode, self.step_], np.float32)


def returns_of(model: QFlex) -> np.ndarray:
    """n-step returns of all rows of the buffer."""
    size = model.replay_buffer.size()
    return model.replay_buffer._get_samples(np.arange(size)).rewards.flatten().numpy()


@pytest.mark.parametrize("way", ["learn", "loaded buffer", "set_env"])
def test_returns_do_not_reach_into_the_next_episode(way: str, tmp_path) -> None:
    model = small_model(Counting(), n_steps=3, learning_starts=1000).learn(10)
    if way == "loaded buffer":
        model.save(tmp_path / "model")
        model.save_replay_buffer(tmp_path / "buffer")
        env = Counting()
        env.episode = 0
        model = QFlex.load(tmp_path / "model", env=env, device="cpu")
        model.load_replay_buffer(tmp_path / "buffer")
    elif way == "set_env":
        env = Counting()
        env.episode = 0
        model.set_env(env)
    model.learn(10, reset_num_timesteps=way == "learn")
    assert model.replay_buffer.size() == 20
    assert not returns_of(model)[:10].any() and returns_of(model)[10:].all()


def test_a_training_that_goes_on_is_not_cut() -> None:
    model = small_model(Counting(), n_steps=3, learning_starts=1000).learn(10)
    model.learn(10, reset_num_timesteps=False)
    assert not model.replay_buffer.dones[:20].any()


def test_goals_of_a_cut_episode_are_its_own() -> None:
    options = {"replay_buffer_class": HerReplayBuffer, "learning_starts": 1000, "buffer_size": 100}
    model = small_model(bit_flipping(), "MultiInputPolicy", **options)
    model.env.envs[0].unwrapped.max_steps = 1000
    model.learn(7).learn(7)
    buffer = model.replay_buffer
    assert buffer.ep_start[6, 0] + buffer.ep_length[6, 0] == buffer.ep_start[7, 0] == 7


def test_after_a_callback_ended_it_no_row_joins_two_steps() -> None:
    model = small_model(Counting(), learning_starts=1000)
    model.learn(20, ConvertCallback(lambda known, _: known["self"].num_timesteps < 10))
    model.learn(5, reset_num_timesteps=False)
    buffer = model.replay_buffer
    rows = zip(buffer.observations[: buffer.pos, 0], buffer.next_observations[: buffer.pos, 0], strict=True)
    assert [(after - before).tolist() for before, after in rows] == [[0.0, 1.0]] * buffer.pos


@pytest.mark.parametrize(
    ("cls", "given", "other"),
    [(QSM, {"preset": "qflex"}, {"preset": "official"}), (MaxInfoSAC, {"ensemble_arch": [8]}, {"ensemble_arch": [9]})],
)
def test_settings_that_say_what_the_file_says_load(cls: Any, given: Any, other: Any, tmp_path) -> None:
    options = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 100, "device": "cpu"}
    cls("MlpPolicy", BoxEnv(), **options, **given).save(tmp_path / "model")
    assert cls.load(tmp_path / "model", **given).action_space == BoxEnv().action_space
    with pytest.raises(ValueError, match=rf"load cannot take {next(iter(other))}"):
        cls.load(tmp_path / "model", **other)


def test_a_file_from_after_the_repeat_keeps_what_the_repeat_changed(tmp_path) -> None:
    settings = {"gamma": 0.81, "gradient_steps": 4, "n_steps": 3}
    model = small_model(BoxEnv(), **settings)
    model.gamma, model.gradient_steps, model.repeat_ended_at = 0.9, 2, 20
    model.learn(30)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    with pytest.warns(UserWarning, match="gamma, gradient_steps stay as they are in the file"):
        loaded = QFlex.load(tmp_path / "model", env=BoxEnv(), device="cpu", **settings)
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert (loaded.gamma, loaded.gradient_steps, loaded.n_steps) == (0.9, 2, 3)


@pytest.mark.parametrize("make", [TrainingCheckpoint, lambda _: RepeatUntil(0.5)])
def test_what_acts_between_rollouts_is_not_put_behind_an_event(make, tmp_path) -> None:
    model = small_model(ActionRepeat(BoxEnv(), 2))
    with pytest.raises(UnsupportedError, match="is behind EveryNTimesteps, which does not tell it of rollouts"):
        model.learn(20, [EveryNTimesteps(5, make(tmp_path / "folder"))])
    assert model.num_timesteps == 0
