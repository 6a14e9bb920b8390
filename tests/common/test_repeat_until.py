"""A training that ends its action repeat: what changes at that step, and what a resumed one finds."""

import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import CallbackList, ConvertCallback, EvalCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_qflex import QFlex, RepeatUntil
from sb3_qflex.envs import ActionRepeat

ENV = "Pendulum-v1"


def environments(repeat=2, n_envs=2):
    return make_vec_env(ENV, n_envs=n_envs, seed=0, wrapper_class=ActionRepeat, wrapper_kwargs={"repeat": repeat})


def model(env, policy="MlpPolicy", **changes):
    arguments = {"learning_starts": 8, "batch_size": 4, "gamma": 0.81, "n_steps": 3, "gradient_steps": 4}
    small = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 200, "exploration": "source", "seed": 0}
    return QFlex(policy, env, **{**arguments, **small, **changes}, device="cpu")


def test_from_that_step_on_actions_last_one_step() -> None:
    env, evaluation = environments(), environments(n_envs=1)
    repeats = []
    observer = ConvertCallback(lambda *_: repeats.append(env.get_attr("repeat")) or True)
    model(env).learn(40, callback=CallbackList([RepeatUntil(0.5), EvalCallback(evaluation, eval_freq=1000), observer]))
    assert repeats == [[2, 2]] * 10 + [[1, 1]] * 10
    assert evaluation.get_attr("repeat") == [1]


def test_the_fraction_is_of_all_steps_of_a_training_that_goes_on() -> None:
    env = environments()
    learner = model(env)
    learner.learn(20, callback=RepeatUntil(1.0))
    assert env.get_attr("repeat") == [2, 2] and learner.gamma == 0.81
    learner.learn(20, callback=RepeatUntil(0.75), reset_num_timesteps=False)
    assert env.get_attr("repeat") == [1, 1]
    # The last 10 of 40 steps.
    assert learner.replay_buffer.size() == 5


@pytest.mark.parametrize(("gradient_steps", "after", "train_freq"), [(4, 2, 1), (1, 1, 2), (3, 3, 2)])
def test_discount_updates_and_buffer_are_those_of_single_steps(gradient_steps, after, train_freq) -> None:
    # Updates come after steps 10, 12, ... 20 while actions are held, and then after 30, 32, ... 40 or 30, 34, ... 42.
    n_first, n_then, stored = 6, {1: 6, 2: 4}[train_freq], {1: 10, 2: 11}[train_freq]
    env = environments()
    learner = model(env, gradient_steps=gradient_steps)
    learner.learn(40, callback=RepeatUntil(0.5))
    assert learner.gamma == pytest.approx(0.9) and learner.replay_buffer.gamma == pytest.approx(0.9)
    assert (learner.gradient_steps, learner.train_freq.frequency) == (after, train_freq)
    assert learner.replay_buffer.size() == stored
    assert learner._n_updates == gradient_steps * n_first + after * n_then
    # A step of Pendulum costs at most some 16.3, two of them are stored no more.
    assert np.abs(learner.replay_buffer.rewards[:stored]).max() < 16.4


def test_a_share_of_the_decisions_may_still_be_held() -> None:
    env, evaluation, frames = environments(), environments(n_envs=1), []
    observer = ConvertCallback(lambda values, _: frames.extend(info["frames"] for info in values["infos"]) or True)
    learner = model(env)
    callbacks = [RepeatUntil(0.5, still_held=0.5), EvalCallback(evaluation, eval_freq=1000), observer]
    learner.learn(120, callback=CallbackList(callbacks))
    assert set(frames[:60]) == {2} and set(frames[60:]) == {1, 2}
    assert evaluation.get_attr("repeat") == [1]
    # A decision lasts 1.5 steps on average where it lasted 2.
    assert learner.gamma == pytest.approx(0.81**0.75) == learner.replay_buffer.gamma
    assert (learner.gradient_steps, learner.train_freq.frequency) == (3, 1)
    # A training that goes on holds the same share.
    frames.clear()
    learner.set_env(environments())
    learner.learn(60, callback=[RepeatUntil(0.5, still_held=0.5), observer], reset_num_timesteps=False)
    assert set(frames) == {1, 2} and (learner.gradient_steps, learner.train_freq.frequency) == (3, 1)


@pytest.mark.parametrize("gradient_steps", [-1, 0])
def test_updates_that_follow_the_steps_or_are_none_stay_so(gradient_steps) -> None:
    learner = model(environments(), gradient_steps=gradient_steps)
    learner.learn(40, callback=RepeatUntil(0.5))
    assert learner.gamma == pytest.approx(0.9) and learner.gradient_steps == gradient_steps


def test_updates_after_episodes_stay_so() -> None:
    learner = model(environments(n_envs=1), train_freq=(1, "episode"))
    learner.learn(200, callback=RepeatUntil(0.5))
    assert learner.gradient_steps == 4 and learner.train_freq.frequency == 1
    # Two episodes of 100 held actions, then one of 200 single ones, all of 200 steps of the task.
    assert learner._n_updates == 3 * 4 - 4


def test_evaluations_behind_other_callbacks_and_of_the_task_itself() -> None:
    held, behind, plain = environments(n_envs=1), environments(n_envs=1), make_vec_env(ENV)
    callbacks = [RepeatUntil(0.5), EveryNTimesteps(1000, EvalCallback(behind)), EvalCallback(plain, eval_freq=20)]
    nested = CallbackList([CallbackList(callbacks), EvalCallback(held, eval_freq=1000)])
    model(environments()).learn(60, callback=nested)
    assert held.get_attr("repeat") == behind.get_attr("repeat") == [1]


def test_a_buffer_of_episodes_forgets_them_too() -> None:
    env = make_vec_env(
        lambda: ActionRepeat(TimeLimit(BitFlippingEnv(n_bits=4, continuous=True), 6), 2), n_envs=2, seed=0
    )
    learner = model(env, policy="MultiInputPolicy", n_steps=1, replay_buffer_class=HerReplayBuffer)
    learner.learn(80, callback=RepeatUntil(0.5))
    buffer = learner.replay_buffer
    assert buffer.size() == 20
    # Episodes of single steps alone, of six at most.
    assert buffer.ep_length[20:].sum() == 0 and 1 < buffer.ep_length.max() <= 6


def test_a_model_and_its_buffer_fit_at_any_step(tmp_path) -> None:
    learner = model(environments(), learning_starts=30)
    learner.learn(42, callback=RepeatUntil(0.9))
    learner.save(tmp_path / "model")
    learner.save_replay_buffer(tmp_path / "buffer")
    loaded = QFlex.load(tmp_path / "model", device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert loaded.replay_buffer.gamma == loaded.gamma == pytest.approx(0.9)


def test_what_goes_on_after_that_step_holds_for_one_step_alone() -> None:
    learner = model(environments())
    learner.learn(40, callback=RepeatUntil(0.5))
    gamma, gradient_steps, stored = learner.gamma, learner.gradient_steps, learner.replay_buffer.size()
    learner.set_env(environments())
    learner.learn(20, callback=RepeatUntil(0.5), reset_num_timesteps=False)
    assert learner.get_env().get_attr("repeat") == [1, 1]
    assert (learner.gamma, learner.gradient_steps) == (gamma, gradient_steps)
    assert learner.replay_buffer.size() == stored + 10


@pytest.mark.parametrize("loaded", [False, True])
def test_a_longer_training_does_not_hold_actions_again(loaded, tmp_path) -> None:
    learner = model(environments())
    learner.learn(40, callback=RepeatUntil(0.5))
    if loaded:
        learner.save(tmp_path / "model")
        learner = QFlex.load(tmp_path / "model", device="cpu")
    learner.set_env(environments())
    # 40 of 140 steps are less than half, and the model is one of single steps.
    learner.learn(100, callback=RepeatUntil(0.5), reset_num_timesteps=False)
    assert learner.get_env().get_attr("repeat") == [1, 1]
    assert learner.gamma == pytest.approx(0.9) and learner.gradient_steps == 2


def test_a_training_of_held_actions_alone_goes_on_with_single_ones() -> None:
    learner = model(environments())
    learner.learn(40)
    learner.learn(20, callback=RepeatUntil(0.5), reset_num_timesteps=False)
    assert learner.get_env().get_attr("repeat") == [1, 1]
    assert learner.gamma == pytest.approx(0.9) and learner.gradient_steps == 2
    # What was held is forgotten.
    assert learner.replay_buffer.size() == 10


def test_what_does_not_fit_is_refused_before_training() -> None:
    for fraction in (0, -0.5, 1.5, True, "half", float("nan")):
        with pytest.raises(ValueError, match=r"fraction must be a number in \(0, 1\]"):
            RepeatUntil(fraction)
    for still_held in (-0.5, 1.0, True, "half"):
        with pytest.raises(ValueError, match="still_held must be"):
            RepeatUntil(0.5, still_held)
    plain = make_vec_env(ENV)
    with pytest.raises(ValueError, match=r"ActionRepeat\(env, repeat\)"):
        model(plain).learn(10, callback=RepeatUntil(0.5))
    with pytest.raises(ValueError, match="does not fit SAC"):
        SAC("MlpPolicy", environments(), buffer_size=100).learn(10, callback=RepeatUntil(0.5))
    with pytest.raises(ValueError, match=r"RepeatUntil changes gamma.*at 0.81: leave it out"):
        model(environments(), replay_buffer_kwargs={"gamma": 0.81}).learn(10, callback=RepeatUntil(0.5))
