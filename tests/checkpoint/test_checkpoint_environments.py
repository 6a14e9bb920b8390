"""What a checkpoint keeps of the environments, and what it refuses to keep rather than keep it wrongly."""

import gymnasium as gym
import numpy as np
import pytest
from helpers.envs_assets import BODIES, parametrize
from helpers.small_models import BoxEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_qflex.checkpoint import environments
from sb3_qflex.vec_env import WorkerVecEnv, env_state
from sb3_qflex.vec_env.errors import NotSavableError


def steps(env: gym.Env, count: int) -> list[np.ndarray]:
    seen = []
    for _ in range(count):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            observation, _ = env.reset()
        seen.append(np.append(observation, reward))
    return seen


@parametrize(BODIES)
def test_bodies_go_on_where_they_were_and_keep_their_model(entry):
    first, second = gym.make(entry.id), gym.make(entry.id)
    for env, seed in ((first, 0), (second, 7)):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        steps(env, 5)
    saved = env_state.dump(env_state.env_layers(first))
    assert len(saved) < 1_000_000
    model = second.unwrapped.model
    env_state.restore(env_state.env_layers(second), saved)
    assert second.unwrapped.model is model
    np.testing.assert_array_equal(steps(second, 30), steps(first, 30))


@parametrize(BODIES)
def test_a_restored_body_notices_divergence(entry):
    env = gym.make(entry.id)
    env.reset(seed=0)
    env_state.restore(env_state.env_layers(env), env_state.dump(env_state.env_layers(env)))
    env.unwrapped.data.qvel[:] = 1e12
    _, reward, terminated, _, info = env.step(env.action_space.sample())
    assert terminated and reward == 0.0 and info["diverged"]


class Pointing(BoxEnv):
    """Its position is a part of its state."""

    def __init__(self, gravity: float = 10.0):
        super().__init__()
        self.gravity = gravity
        self.state = np.arange(8.0).reshape(2, 4)
        self.position = self.state[1, ::2]
        self.nested = {"first": self.state[0]}


def test_views_of_an_array_stay_views():
    first, second = Pointing(), Pointing()
    first.state += 10.0
    env_state.restore([second], env_state.dump([first]))
    np.testing.assert_array_equal(second.position, [14.0, 16.0])
    second.state[:] = 0.0
    np.testing.assert_array_equal(second.position, [0.0, 0.0])
    np.testing.assert_array_equal(second.nested["first"], np.zeros(4))
    assert first.state[1, 0] == 14.0


def test_what_was_read_back_is_saved_again():
    first, second = VecNormalize(make_vec_env(BoxEnv, 1)), VecNormalize(make_vec_env(BoxEnv, 1))
    first.reset()
    environments.set_states(second, environments.get_states(first))
    assert environments.get_states(second).wrappers == environments.get_states(second).wrappers


def test_memory_of_a_simulator_is_not_copied_as_if_it_were_a_value():
    env = gym.make("HalfCheetah-v5")
    env.unwrapped.height = env.unwrapped.data.qpos[1:2]
    with pytest.raises(NotSavableError, match=r"an array of shape \(1,\) whose memory is not NumPy's own"):
        env_state.dump(env_state.env_layers(env))


def test_arguments_that_changed_are_kept_and_the_state_is_not_taken(monkeypatch):
    monkeypatch.setitem(gym.registry, "Pointing-v0", gym.envs.registration.EnvSpec("Pointing-v0", Pointing))
    before, now = (make_vec_env("Pointing-v0", 1, env_kwargs={"gravity": g}) for g in (10.0, 3.0))
    with pytest.raises(NotSavableError, match=r"made with gravity=10.0, and not 3.0"):
        environments.set_states(now, environments.get_states(before))
    assert now.get_attr("gravity") == [3.0]
    environments.set_states(
        make_vec_env("Pointing-v0", 1, env_kwargs={"gravity": 10.0}), environments.get_states(before)
    )


def test_time_limits_and_settings_of_normalisation_are_those_of_the_given_environment():
    before, now = (
        VecNormalize(make_vec_env("Pendulum-v1", 1, env_kwargs={"max_episode_steps": limit}), clip_obs=clip)
        for limit, clip in ((200, 10.0), (3, 5.0))
    )
    before.reset()
    environments.set_states(now, environments.get_states(before))
    assert now.clip_obs == 5.0
    assert [bool(now.step(np.zeros((1, 1)))[2][0]) for _ in range(3)] == [False, False, True]


def test_a_limit_holds_for_workers_too(monkeypatch):
    monkeypatch.setattr(environments, "_LIMIT_BYTES", 10)
    env = make_vec_env(BoxEnv, 4, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"n_workers": 2, "start_method": "fork"})
    with pytest.raises(NotSavableError, match=r"the 4 environments, .* more than 10 bytes"):
        environments.get_states(env)
    env.close()


class WithAnotherMeaning(DummyVecEnv):
    def get_state(self, index):
        raise AssertionError("not asked for")


def test_a_get_state_of_another_meaning_does_not_end_the_training():
    class Foreign:
        def get_state(self, index):
            return index

    with pytest.raises(NotSavableError, match=r"Foreign.get_state\(\) gives none that pickles"):
        environments._get(Foreign())
    assert len(environments._get(WithAnotherMeaning([BoxEnv]))) == 1
