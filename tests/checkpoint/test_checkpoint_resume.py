"""A training that is broken off and resumed equals the one that was not, bit for bit."""

import threading
from typing import Any

import numpy as np
import pytest
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, ReachEnv, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack, VecMonitor, VecNormalize

from sb3_qflex import QFlex, TrainingCheckpoint
from sb3_qflex.checkpoint import environments
from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
from sb3_qflex.vec_env import WorkerVecEnv, env_state
from sb3_qflex.vec_env.errors import NotSavableError

TOTAL, BREAK, EVERY = 124, 104, 24


def pendulum(n_envs: int = 1, **kwargs: Any):
    return make_vec_env("Pendulum-v1", n_envs, **kwargs)


def workers(n_envs: int):
    # With fork a worker is there at once; the others are started alike.
    return make_vec_env(
        "Pendulum-v1", n_envs, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"n_workers": 2, "start_method": "fork"}
    )


HER = {
    "policy": "MultiInputPolicy",
    "replay_buffer_class": HerReplayBuffer,
    "replay_buffer_kwargs": {"n_sampled_goal": 2, "copy_info_dict": True},
    "buffer_size": 50,
    "learning_starts": 60,
}
NO_TIMEOUTS = {"handle_timeout_termination": False}
CASES = {
    "pendulum": (pendulum, {}),
    "ring": (lambda: pendulum(2), {"buffer_size": 60}),
    "chain": (
        # As in the hyperparameters of its studies: without statistics of observations.
        lambda: VecNormalize(PlanarChainVecEnv(4, n_links=3, max_episode_steps=7), norm_obs=False),
        {"buffer_size": 100, "gradient_steps": 2},
    ),
    "workers": (lambda: workers(3), {"guidance_dtype": "bfloat16"}),
    "wrappers": (
        lambda: VecNormalize(VecFrameStack(VecMonitor(pendulum(2)), 2)),
        {"n_steps": 3, "buffer_size": 60, "learning_rate": lambda remaining: 1e-3 * remaining},
    ),
    "options": (
        lambda: pendulum(2),
        {
            "ent_coef": "auto",
            "preconditioner": "rms",
            "policy_delay": 2,
            "action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(1), 0.3 * np.ones(1)),
        },
    ),
    "memory": (
        lambda: make_vec_env(BoxEnv, 2),
        {"optimize_memory_usage": True, "buffer_size": 40, "replay_buffer_kwargs": NO_TIMEOUTS},
    ),
    "her": (lambda: make_vec_env(ReachEnv, 2), HER),
    "episodes": (lambda: make_vec_env(BoxEnv, 1), {"train_freq": (1, "episode"), "gradient_steps": -1}),
}
FAST = ("pendulum", "chain", "workers", "her")  # the others take as long again, and are for `make test-slow`


@pytest.mark.parametrize(
    "make_env, options",
    [pytest.param(*case, id=name, marks=() if name in FAST else pytest.mark.slow) for name, case in CASES.items()],
)
def test_resumed_equals_unbroken(make_env, options, tmp_path):
    whole = small_model(make_env(), **options)
    whole.learn(TOTAL, TrainingCheckpoint(tmp_path / "whole", every=EVERY))
    expected = everything(whole)
    whole.get_env().close()

    broken = small_model(make_env(), **options)
    with pytest.raises(ConnectionAbortedError):
        broken.learn(TOTAL, [TrainingCheckpoint(tmp_path / "broken", every=EVERY), BreakOff(BREAK)])
    broken.get_env().close()

    resumed = QFlex.resume(tmp_path / "broken", make_env(), device="cpu")
    assert BREAK - 2 * EVERY < resumed.num_timesteps < BREAK
    callback = TrainingCheckpoint(tmp_path / "broken", every=EVERY)
    resumed.learn(TOTAL - resumed.num_timesteps, callback, reset_num_timesteps=False)
    assert_equal(everything(resumed), expected)
    resumed.get_env().close()


def test_checkpoints_do_not_change_training(tmp_path):
    plain = small_model(pendulum()).learn(40)
    with_checkpoints = small_model(pendulum()).learn(40, TrainingCheckpoint(tmp_path, every=1))
    assert_equal(everything(with_checkpoints), everything(plain))


def test_a_file_that_monitor_writes_goes_on(tmp_path):
    def make():
        return make_vec_env(BoxEnv, 1, monitor_dir=str(tmp_path / "log"), monitor_kwargs={"override_existing": False})

    small_model(make()).learn(35, TrainingCheckpoint(tmp_path / "checkpoint"))
    resumed = QFlex.resume(tmp_path / "checkpoint", make())
    resumed.learn(25, reset_num_timesteps=False)
    rows = (tmp_path / "log/0.monitor.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows] == ["10"] * 6


@pytest.mark.parametrize("adds", [False, True])
def test_times_in_a_file_of_monitor_count_from_its_header(adds, tmp_path):
    def make(log):
        return make_vec_env(BoxEnv, 1, monitor_dir=str(log), monitor_kwargs={"override_existing": not adds})

    begun = make(tmp_path / "first")
    begun.envs[0].t_start -= 1e6
    small_model(begun).learn(35, TrainingCheckpoint(tmp_path / "checkpoint"))
    resumed = QFlex.resume(tmp_path / "checkpoint", make(tmp_path / "second"))
    resumed.learn(25, reset_num_timesteps=False)
    rows = [row.split(",") for row in (tmp_path / "second/0.monitor.csv").read_text().splitlines()]
    # A file that is added to has the header of the first start.
    assert [float(seconds) >= 1e6 for _, _, seconds in rows[-3:]] == [adds] * 3


def test_without_replay_data_it_collects_first(tmp_path):
    small_model(pendulum()).learn(40, TrainingCheckpoint(tmp_path, replay=False))
    resumed = QFlex.resume(tmp_path, pendulum())
    updates = resumed._n_updates
    with pytest.warns(UserWarning, match="first collects 20 transitions"):
        resumed.learn(20, reset_num_timesteps=False)
    assert (resumed.num_timesteps, resumed._n_updates) == (60, updates)


class WithLock(BoxEnv):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_states_that_are_too_large_are_given_up_at_once(monkeypatch):
    dumped, dump = [], env_state.dump
    monkeypatch.setattr(environments, "_LIMIT_BYTES", 10)
    monkeypatch.setattr(env_state, "dump", lambda *layers: dumped.append(layers) or dump(*layers))
    with pytest.raises(NotSavableError, match="the 5 environments take more than 10 bytes"):
        environments.get_states(make_vec_env(BoxEnv, 5))
    # The wrappers and the first environment.
    assert len(dumped) == 2


@pytest.mark.parametrize(
    "make_env, why",
    [
        (lambda: make_vec_env(WithLock, 2), "cannot be pickled"),
        (
            lambda: make_vec_env(BoxEnv, 2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"}),
            "no access",
        ),
    ],
    ids=["unpicklable", "subproc"],
)
def test_environments_that_cannot_be_saved_start_new_episodes(make_env, why, tmp_path, caplog):
    caplog.set_level("INFO")
    model = small_model(make_env(), n_steps=3)
    model.learn(46, TrainingCheckpoint(tmp_path, every=20))
    model.get_env().close()
    assert len([record for record in caplog.records if why in record.getMessage()]) == 1
    resumed = QFlex.resume(tmp_path, make_env())
    assert "start new episodes" in caplog.text
    # 23 rows: in the middle of the third episode, which is cut.
    assert resumed.replay_buffer.pos == 23
    np.testing.assert_array_equal(resumed.replay_buffer.dones[22], 1)
    np.testing.assert_array_equal(resumed.replay_buffer.timeouts[22], 1)
    assert model.replay_buffer.dones[22].sum() == 0
    resumed.learn(20, TrainingCheckpoint(tmp_path), reset_num_timesteps=False)
    np.testing.assert_array_equal(resumed.replay_buffer.dones[32], 1)
    resumed.get_env().close()


def test_a_step_that_another_callback_ended_at_is_not_half_saved(tmp_path):
    model = small_model(make_vec_env(BoxEnv, 1))
    model.learn(100, [TrainingCheckpoint(tmp_path), StopTrainingOnMaxEpisodes(3)])
    assert (model.num_timesteps, model.replay_buffer.pos) == (30, 29)
    resumed = QFlex.resume(tmp_path, make_vec_env(BoxEnv, 1))
    assert resumed._last_obs is None
    assert (resumed.replay_buffer.pos, resumed.replay_buffer.timeouts[28, 0]) == (29, 1)
    resumed.learn(30, TrainingCheckpoint(tmp_path), reset_num_timesteps=False)
    np.testing.assert_array_equal(np.flatnonzero(resumed.replay_buffer.dones), [9, 19, 28, 38, 48, 58])


def test_normalization_has_to_be_there_again(tmp_path):
    small_model(VecNormalize(pendulum())).learn(30, TrainingCheckpoint(tmp_path))
    with pytest.raises(RuntimeError, match="with VecNormalize, and the given environment is without it"):
        QFlex.resume(tmp_path, pendulum())


class Priorities(ReplayBuffer):
    """A user's own, with an array beside SB3's."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.priorities = np.zeros((self.buffer_size, self.n_envs))

    def add(self, *args: Any) -> None:
        self.priorities[self.pos] = 1.0 + self.pos
        super().add(*args)


def test_arrays_of_a_buffer_of_ones_own_come_back(tmp_path):
    options = {"replay_buffer_class": Priorities, "buffer_size": 30}
    model = small_model(make_vec_env(BoxEnv, 1), **options)
    model.learn(40, TrainingCheckpoint(tmp_path))
    resumed = QFlex.resume(tmp_path, make_vec_env(BoxEnv, 1), device="cpu")
    assert sorted(model.replay_buffer.priorities[:, 0]) == list(range(1, 31))
    np.testing.assert_array_equal(resumed.replay_buffer.priorities, model.replay_buffer.priorities)


def test_evaluations_go_on_and_the_best_model_stays(tmp_path):
    def evaluation():
        paths = {"best_model_save_path": str(tmp_path / "best"), "log_path": str(tmp_path / "log")}
        return EvalCallback(make_vec_env(BoxEnv, 1), eval_freq=25, n_eval_episodes=1, verbose=0, **paths)

    first = evaluation()
    small_model(make_vec_env(BoxEnv, 1)).learn(60, [first, TrainingCheckpoint(tmp_path / "training")])
    first.best_mean_reward = 1000.0  # no other will be as good
    resumed = QFlex.resume(tmp_path / "training", make_vec_env(BoxEnv, 1), device="cpu")
    resumed.learn(0, [first, TrainingCheckpoint(tmp_path / "training")], reset_num_timesteps=False)
    first.best_mean_reward = 1000.0
    resumed.learn(5, [first, TrainingCheckpoint(tmp_path / "training")], reset_num_timesteps=False)
    before = (tmp_path / "best/best_model.zip").read_bytes()

    second, elsewhere = evaluation(), EvalCallback(make_vec_env(BoxEnv, 1), eval_freq=25, verbose=0)
    resumed = QFlex.resume(tmp_path / "training", make_vec_env(BoxEnv, 1), device="cpu")
    resumed.learn(40, [elsewhere, second], reset_num_timesteps=False)
    assert second.best_mean_reward == 1000.0 and elsewhere.best_mean_reward < 1000.0
    assert (tmp_path / "best/best_model.zip").read_bytes() == before
    with np.load(tmp_path / "log/evaluations.npz") as found:
        assert found["timesteps"].tolist() == [25, 50, 75, 100]
