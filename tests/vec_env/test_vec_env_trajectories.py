"""The same trajectories, infos and answers as DummyVecEnv."""

import multiprocessing as mp
from typing import Any

import numpy as np
import pytest
from helpers.vec_env_samples import ACTION_SPACES, OBSERVATION_SPACES, SampleEnv, sample_envs
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_qflex.vec_env import WorkerVecEnv

ESSENTIAL = ("TimeLimit.truncated", "terminal_observation", "episode", "is_success")


def worker_env(n_envs: int = 5, n_workers: int = 2, **kwargs: Any) -> WorkerVecEnv:
    vec_kwargs = {key: kwargs.pop(key) for key in ("infos", "start_method") if key in kwargs}
    return WorkerVecEnv(
        sample_envs(n_envs, **kwargs), n_workers, **({"start_method": "fork", "infos": "essential"} | vec_kwargs)
    )


def assert_same(ours: Any, theirs: Any) -> None:
    # DummyVecEnv returns an OrderedDict, SubprocVecEnv a dict.
    assert isinstance(theirs, type(ours))
    if isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


def expected_info(info: dict[str, Any], extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is left of DummyVecEnv's info."""
    info = {"is_success": info["solved"], "effort": float(info["rwd_dict"]["effort"]), **info}
    return {key: info[key] for key in (*ESSENTIAL, *extra) if key in info}


def assert_same_infos(ours: list[dict], theirs: list[dict], extra: tuple[str, ...] = ()) -> None:
    for our, their in zip(ours, theirs, strict=True):
        expected = expected_info(their, extra)
        assert our.keys() == expected.keys()
        for key, value in expected.items():
            # Monitor's "t" is the wall-clock.
            if key == "episode":
                assert {**our[key], "t": 0} == {**value, "t": 0}
            else:
                assert_same(our[key], value)


def assert_same_trajectories(ours: VecEnv, theirs: VecEnv, n_steps: int = 30, extra: tuple[str, ...] = ()) -> None:
    assert_same(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    n_dones = 0
    for _ in range(n_steps):
        actions = np.array([theirs.action_space.sample() for _ in range(theirs.num_envs)])
        ours_step, theirs_step = ours.step(actions), theirs.step(actions)
        for our, their in zip(ours_step[:3], theirs_step[:3], strict=True):
            assert_same(our, their)
        assert_same_infos(ours_step[3], theirs_step[3], extra)
        assert ours.reset_infos == theirs.reset_infos
        n_dones += theirs_step[2].sum()
    assert n_dones > 10


@pytest.mark.parametrize("observation", OBSERVATION_SPACES)
@pytest.mark.parametrize("action", ACTION_SPACES)
def test_same_trajectories_in_every_space(observation: str, action: str) -> None:
    theirs = DummyVecEnv(sample_envs(5, observation=observation, action=action))
    ours = worker_env(observation=observation, action=action)
    for env in (ours, theirs):
        env.action_space.seed(1)
        env.seed(3)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert_same_trajectories(ours, theirs)
    # A second reset continues the same generators, and options last for one reset.
    for env in (ours, theirs):
        env.set_options({"level": 2})
    assert_same_trajectories(ours, theirs)
    ours.close()


@pytest.mark.parametrize("start_method", mp.get_all_start_methods())
def test_start_methods(start_method: str) -> None:
    theirs, ours = DummyVecEnv(sample_envs(3)), worker_env(3, start_method=start_method)
    for env in (ours, theirs):
        env.set_options([{"level": level} for level in range(3)])
        env.action_space.seed(1)
        env.seed(11)
    assert_same_trajectories(ours, theirs)
    # A worker that starts afresh imports no more than its environments do. (The fork server is one for the whole test
    # process: what it imported depends on the tests before this one.)
    if start_method == "spawn":
        assert ours.env_method("has_imported", "torch") == [False] * 3
    ours.close()


def test_monitor_and_make_vec_env() -> None:
    def make(vec_env_cls: Any, **vec_env_kwargs: Any) -> VecEnv:
        env = make_vec_env(SampleEnv, 5, seed=11, vec_env_cls=vec_env_cls, vec_env_kwargs=vec_env_kwargs)
        env.action_space.seed(1)
        return env

    ours, theirs = make(WorkerVecEnv, n_workers=2, start_method="fork", infos="essential"), make(DummyVecEnv)
    assert_same_trajectories(ours, theirs)
    assert ours.env_is_wrapped(Monitor) == [True] * 5
    assert ours.env_method("get_episode_lengths") == theirs.env_method("get_episode_lengths")
    ours.close()


def test_all_infos_are_those_of_dummy_vec_env() -> None:
    theirs, ours = DummyVecEnv(sample_envs(5)), worker_env(infos="all")
    for env in (ours, theirs):
        env.seed(3)
        env.reset()
    for _ in range(20):
        our_infos, their_infos = (env.step(np.zeros((5, 2), np.float32))[3] for env in (ours, theirs))
        for our, their in zip(our_infos, their_infos, strict=True):
            assert our.pop("is_success") == their["solved"]
            assert our.keys() == their.keys()
            assert our["rwd_dict"] == their["rwd_dict"]
            assert_same(our.get("terminal_observation"), their.get("terminal_observation"))
    ours.close()


def test_requested_scalars_come_with_their_types() -> None:
    theirs, ours = DummyVecEnv(sample_envs(5)), worker_env(infos=["steps", "effort"])
    for env in (ours, theirs):
        env.action_space.seed(1)
        env.seed(3)
    assert_same_trajectories(ours, theirs, extra=("steps", "effort"))
    info = ours.step(np.zeros((5, 2), np.float32))[3][0]
    assert [type(info[key]) for key in ("TimeLimit.truncated", "is_success", "steps", "effort")] == [
        bool,
        bool,
        int,
        float,
    ]
    ours.close()


def test_a_scalar_nobody_gives_is_reported_and_an_array_refused() -> None:
    actions = np.zeros((2, 2), np.float32)
    ours = worker_env(2, infos=["efort"])
    ours.reset()
    with pytest.warns(UserWarning, match=r"efort.*infos='all'"):
        ours.step(actions)
    ours.close()
    ours = worker_env(2, infos=["obs_dict"])
    ours.reset()
    with pytest.raises(TypeError, match=r"'obs_dict' must be one number"):
        ours.step(actions)
    ours.close()


def test_an_action_of_another_type_is_not_converted() -> None:
    theirs, ours = DummyVecEnv(sample_envs(3)), worker_env(3)
    actions = np.full((3, 2), 0.1, dtype=np.float64)
    rewards = []
    for env in (ours, theirs):
        env.seed(5)
        env.reset()
        rewards.append(env.step(actions)[1])
    np.testing.assert_array_equal(*rewards)
    with pytest.raises(ValueError, match="each of the 3 environments, got 2"):
        ours.step(actions[:2])
    ours.close()


def test_what_a_step_returned_is_the_callers() -> None:
    ours = worker_env(observation="dict")
    ours.seed(0)
    first = ours.reset()
    kept = [{key: array.copy() for key, array in first.items()}]
    returned = [first]
    for _ in range(3):
        observations, rewards, dones, _ = ours.step(np.ones((5, 2), np.float32))
        returned.append({**observations, "rewards": rewards, "dones": dones})
        kept.append({key: array.copy() for key, array in returned[-1].items()})
    for one, other in zip(returned, kept, strict=True):
        assert_same(one, other)
    ours.close()


def test_attributes_methods_and_wrappers() -> None:
    theirs, ours = DummyVecEnv(sample_envs(5, render_mode="rgb_array")), worker_env(render_mode="rgb_array")
    for env in (theirs, ours):
        env.set_options([{"level": level} for level in range(5)])
        env.reset()
        env.set_attr("level", 40, indices=[4])
        env.set_attr("extra", "x")
    calls: list[Any] = [
        lambda env: env.get_attr("level"),
        lambda env: env.get_attr("level", indices=3),
        lambda env: env.get_attr("level", indices=[4, 0, -2, 4]),
        lambda env: env.get_attr("extra"),
        lambda env: env.env_method("scaled", 2.0, offset=1.0),
        lambda env: env.env_method("scaled", 3.0, indices=[1, 3]),
        lambda env: (env.has_attr("level"), env.has_attr("levels")),
        lambda env: env.env_is_wrapped(Monitor),
        lambda env: (env.metadata, env.render_mode),
        lambda env: np.stack(env.get_images()).tolist(),
        lambda env: env.render().tolist(),
    ]
    for call in calls:
        assert call(ours) == call(theirs)
    for env in (theirs, ours):
        with pytest.raises(AttributeError, match="levels"):
            env.get_attr("levels")
        with pytest.raises(KeyError, match="no such thing"):
            env.env_method("fail", indices=[2])
        with pytest.raises(IndexError):
            env.get_attr("level", indices=[5])
    # Such errors leave nothing behind.
    assert ours.get_attr("level", 4) == [40]
    ours.close()


def test_arguments_and_answers_that_cannot_be_pickled() -> None:
    ours = worker_env(2)
    # As with DummyVecEnv, a function defined on the spot may be passed.
    ours.set_attr("scaled", lambda factor: factor + 1)
    assert ours.env_method("scaled", 1) == [2, 2]
    with pytest.raises(TypeError, match="pickle"):
        ours.get_attr("lock")
    assert ours.get_attr("level") == [0, 0]
    ours.close()


def test_training_gives_the_same_parameters() -> None:
    def train(env: VecEnv) -> np.ndarray:
        model = PPO("MlpPolicy", VecNormalize(env), n_steps=16, batch_size=40, n_epochs=2, seed=7)
        model.learn(240)
        env.close()
        return np.concatenate([one.detach().numpy().ravel() for one in model.policy.parameters()])

    make = {"env_id": SampleEnv, "n_envs": 5}
    ours = make_vec_env(**make, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"start_method": "fork"})
    np.testing.assert_array_equal(train(ours), train(make_vec_env(**make)))
