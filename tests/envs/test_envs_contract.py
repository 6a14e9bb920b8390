"""What every id promises: spaces, seeds, finite values, an end to divergence, workers, pictures."""

import functools
import os
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from helpers.envs_assets import BODIES, MAKEABLE, MYO, make, needs, parametrize
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

# Random steps in the fast suite, where a step takes milliseconds.
FEWER_STEPS = {"MSHuman700Walk-v0": 60, "OstrichRun-v0": 200}


@parametrize(MAKEABLE)
def test_gymnasiums_checker(entry):
    env = gym.make(entry.id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Unbounded observations and, for MyoSuite, a wrapper around the task are what these ids have.
        warnings.filterwarnings("ignore", message=".*(infinity|different from the unwrapped|not have a spec).*")
        gymnasium_check(env if entry in MYO else env.unwrapped, skip_render_check=True)


@parametrize(MAKEABLE)
def test_stable_baselines3s_checker(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Muscles take [0, 1]: SB3's advice to centre the box does not apply to the id, see MyoLegWalkSigmoid-v0.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        sb3_check(gym.make(entry.id), skip_render_check=True)


@parametrize(MAKEABLE)
def test_spaces_are_those_of_the_catalogue(entry):
    env = gym.make(entry.id)
    assert env.observation_space.shape == (entry.observations,) and env.observation_space.dtype == np.float32
    assert env.action_space.shape == (entry.actions,) and env.action_space.dtype == np.float32
    assert (env.action_space.low == entry.bounds[0]).all() and (env.action_space.high == entry.bounds[1]).all()
    assert env.spec.max_episode_steps == entry.steps


def rollout(env, seed, steps):
    env.action_space.seed(seed)
    observations, rewards = [env.reset(seed=seed)[0]], []
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rewards.append(reward)
        if terminated or truncated:
            observation, _ = env.reset()
        observations.append(observation)
    return np.array(observations), np.array(rewards)


def assert_random_steps_are_finite(entry, steps):
    env = gym.make(entry.id)
    observations, rewards = rollout(env, 0, steps)
    assert observations.dtype == np.float32
    assert np.isfinite(observations).all() and np.isfinite(rewards).all()


@parametrize(MAKEABLE)
def test_random_steps_are_finite(entry):
    assert_random_steps_are_finite(entry, FEWER_STEPS.get(entry.id, 500))


@pytest.mark.slow
@parametrize(MAKEABLE)
def test_5000_random_steps_are_finite(entry):
    assert_random_steps_are_finite(entry, 5000)


@parametrize(MAKEABLE)
def test_a_seed_fixes_everything_also_in_a_second_environment(entry):
    steps = 10 if entry.id in FEWER_STEPS else 40
    env, other = gym.make(entry.id), gym.make(entry.id)
    rollout(other, 3, 5)
    for one, two in zip(rollout(env, 7, steps), rollout(other, 7, steps), strict=True):
        np.testing.assert_array_equal(one, two)
    different = rollout(env, 8, steps)[0]
    assert (different != rollout(other, 7, steps)[0]).any()


@parametrize(BODIES)
def test_environments_share_the_model_unless_they_render(entry):
    one, two, rendering = make(entry.id), make(entry.id), make(entry.id, render_mode="rgb_array", width=64)
    assert one.model is two.model
    assert one.data is not two.data
    assert rendering.model is not one.model
    rendering.model.opt.gravity[:] = 0.0
    assert one.model.opt.gravity[2] == pytest.approx(-9.81, abs=0.01)


@parametrize(BODIES)
def test_pickling_keeps_the_arguments(entry):
    assert pickle.loads(pickle.dumps(make(entry.id, width=96))).width == 96


@parametrize(MAKEABLE)
def test_pickling_rebuilds_the_environment(entry):
    env = gym.make(entry.id)
    again = pickle.loads(pickle.dumps(env))
    action = np.full(entry.actions, 0.3, dtype=np.float32)
    np.testing.assert_array_equal(env.reset(seed=2)[0], again.reset(seed=2)[0])
    np.testing.assert_array_equal(env.step(action)[0], again.step(action)[0])


@parametrize([*BODIES, *MYO])
def test_divergence_ends_the_episode_and_nothing_else(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its warnings
    env = gym.make(entry.id)
    env.reset(seed=0)
    action = np.zeros(entry.actions, dtype=np.float32)
    before, *_, usual = env.step(action)
    env.unwrapped.data.qvel[-1] = np.nan
    observation, reward, terminated, truncated, info = env.step(action)
    assert (reward, terminated, truncated, info["diverged"]) == (0.0, True, False, True)
    # A Monitor may have been told to write any of them down.
    assert set(info) >= {name for name, value in usual.items() if isinstance(value, float)}
    np.testing.assert_array_equal(observation, before)
    assert env.get_wrapper_attr("divergences") == 1
    env.reset()
    *_, info = env.step(action)
    assert info["diverged"] is False
    assert env.get_wrapper_attr("divergences") == 1


@parametrize(MAKEABLE)
def test_bad_actions_are_refused(entry):
    env = gym.make(entry.id, disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(entry.actions, np.nan, dtype=np.float32))


@parametrize([*BODIES, *MYO])
def test_bad_reset_options_are_refused(entry):
    env = gym.make(entry.id)
    with pytest.raises(ValueError, match="'pose' is unknown; allowed"):
        env.reset(options={"pose": 1})
    with pytest.raises(ValueError, match="'qpos' must be finite and of shape"):
        env.reset(options={"qpos": [0.0]})


def assert_spawned_worker_agrees(entry_id):
    constructors = [functools.partial(gym.make, f"sb3_qflex.envs:{entry_id}")]
    results = []
    for vec_env in (DummyVecEnv(constructors), SubprocVecEnv(constructors, start_method="spawn")):
        vec_env.seed(11)
        first = vec_env.reset()
        second = vec_env.step(np.full((1, *vec_env.action_space.shape), 0.1, dtype=np.float32))[0]
        results.append((first, second))
        vec_env.close()
    for here, there in zip(*results, strict=True):
        np.testing.assert_array_equal(here, there)


@needs("H1Run-v0")
def test_a_spawned_worker_agrees_with_this_process():
    assert_spawned_worker_agrees("H1Run-v0")


@pytest.mark.slow
@parametrize(MAKEABLE)
def test_a_spawned_worker_agrees_with_this_process_for_every_id(entry):
    assert_spawned_worker_agrees(entry.id)


@pytest.mark.parametrize(
    "entry_id", [pytest.param(name, marks=needs(name)) for name in ("SMPLHumanoidJump-v0", "H1Run-v0")]
)
def test_picture_shows_the_body(entry_id):
    if os.environ.get("MUJOCO_GL") not in ("egl", "osmesa"):
        pytest.skip("pictures need MUJOCO_GL=egl or osmesa")
    env = make(entry_id, render_mode="rgb_array", width=160, height=120)
    env.model.vis.quality.shadowsize = 0
    env.reset(seed=0)
    with_body = env.render()
    assert with_body.shape == (120, 160, 3) and with_body.dtype == np.uint8
    env.model.geom_rgba[1:] = 0.0
    env.model.geom_matid[1:] = -1
    without = env.render()
    env.close()
    # The camera is aimed at it: hiding the body changes the middle of the picture.
    assert (with_body != without)[30:90, 50:110].any(axis=-1).mean() > 0.03


@parametrize(BODIES)
def test_unknown_cameras_and_modes_are_refused(entry):
    with pytest.raises(ValueError, match="is no camera of this model; it has"):
        make(entry.id, camera_name="nowhere")
    with pytest.raises(ValueError, match="render_mode='ascii'"):
        make(entry.id, render_mode="ascii")
