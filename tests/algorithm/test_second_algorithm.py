"""A second algorithm of some forty lines has what QFlex has, without doing anything for it."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, assert_same, parameters
from helpers.small_td3 import SmallTD3, SmallTD3Policy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

from sb3_qflex import QFlex, TrainingCheckpoint
from sb3_qflex.common.model_file import BrokenFileError
from sb3_qflex.vec_env import BadStateError, WorkerVecEnv

OBSERVATIONS = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 3)).astype(np.float32)


def small(env: Any = "Pendulum-v1", **options: Any) -> SmallTD3:
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu", **options}
    return SmallTD3("MlpPolicy", env, **arguments)


def noisy(env: Any, **options: Any) -> SmallTD3:
    return small(env, action_noise=NormalActionNoise(np.zeros(1), 0.3), **options)


@pytest.mark.parametrize("options", [{}, {"n_steps": 3, "policy_delay": 1}, {"train_freq": (1, "episode")}], ids=str)
def test_it_trains_and_logs(options: dict[str, Any]) -> None:
    model = small(BoxEnv(), **options)
    start = parameters(model)
    model.learn(60)
    assert model._n_updates > 0
    assert any(not th.equal(value, start[name]) for name, value in parameters(model).items())
    assert {"train/critic_loss", "train/actor_loss", "train/n_updates"} <= model.logger.name_to_value.keys()


def test_a_saved_copy_goes_on(tmp_path: Path) -> None:
    model = small(BoxEnv(), policy_delay=3).learn(60)
    model.save(tmp_path / "model")
    loaded = SmallTD3.load(tmp_path / "model", BoxEnv(), device="cpu", gamma=0.5)
    assert (loaded.policy_delay, loaded.gamma) == (3, 0.5)
    assert_same(parameters(model), parameters(loaded))
    np.testing.assert_array_equal(model.predict(OBSERVATIONS)[0], loaded.predict(OBSERVATIONS)[0])
    assert loaded.learn(30)._n_updates > model._n_updates
    with pytest.raises(BrokenFileError, match=r"is no QFlex model: it lacks field\.optimizer\.pth"):
        QFlex.load(tmp_path / "model")
    with pytest.raises(TypeError, match="no option 'polcy_delay', did you mean 'policy_delay'"):
        SmallTD3.load(tmp_path / "model", polcy_delay=1)


def test_options_are_checked_at_construction_and_at_assignment() -> None:
    with pytest.raises(ValueError, match="policy_delay must be an integer of at least 1, not 0"):
        small(policy_delay=0)
    model = small()
    with pytest.raises(ValueError, match="gamma must be a number"):
        model.gamma = 1.5
    assert model.gamma == 0.99
    with pytest.raises(ValueError, match="policy must be 'MlpPolicy' or a subclass of SmallTD3Policy"):
        SmallTD3(QFlex.policy_aliases["MlpPolicy"], "Pendulum-v1")


def test_bad_states_are_refused_and_divergence_stops() -> None:
    class Sick(BoxEnv):
        def step(self, action: np.ndarray):
            observation, reward, *rest = super().step(action)
            return observation, np.nan if self.n_steps == 3 else reward, *rest

    with pytest.raises(BadStateError, match="reward"):
        small(Sick()).learn(10)
    truncating = small(Sick(), bad_states="truncate").learn(30)
    assert truncating._bad_state_guard.bad_states > 0
    model = small(BoxEnv(), gamma=0.9).learn(30)
    with th.no_grad():
        for parameter in model.critic.parameters():
            parameter.mul_(1e3)
    with pytest.raises(ValueError, match="Q has diverged"):
        model.train(gradient_steps=2, batch_size=8)


@pytest.mark.parametrize("workers", [False, True])
def test_a_resumed_training_equals_one_that_was_not_broken_off(tmp_path: Path, workers: bool) -> None:
    def env() -> Any:
        kwargs = {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": 1, "start_method": "fork"}}
        return make_vec_env("Pendulum-v1", 2, **(kwargs if workers else {}))

    whole = noisy(env()).learn(124)
    with pytest.raises(ConnectionAbortedError):
        noisy(env()).learn(124, [TrainingCheckpoint(tmp_path, every=24), BreakOff(104)])
    resumed = SmallTD3.resume(tmp_path, env(), device="cpu")
    assert 0 < resumed.num_timesteps <= 104
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    for model in (whole, resumed):
        model.get_env().close()


class KilledAt(BaseCallback):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def _on_step(self) -> bool:
        if self.num_timesteps == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
        return True


def train_until_killed(folder: str, threads: int) -> None:
    th.set_num_threads(threads)  # sums depend on their number
    noisy(BoxEnv()).learn(124, [TrainingCheckpoint(folder, every=24), KilledAt(104)])


def test_a_killed_training_resumes(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=train_until_killed, args=(str(tmp_path), th.get_num_threads())
    )
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    resumed = SmallTD3.resume(tmp_path, BoxEnv(), device="cpu")
    assert resumed.num_timesteps > 0
    resumed.learn(124 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(noisy(BoxEnv()).learn(124)), everything(resumed))


def test_its_policy_is_exported(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    box = gym.spaces.Box(-2.0, 0.5, (2,), np.float32)
    model = small(BoxEnv(action_space=box)).learn(60)
    expected = model.predict(OBSERVATIONS)[0]
    session = onnxruntime.InferenceSession(str(model.export_onnx(tmp_path / "policy")))
    np.testing.assert_allclose(session.run(None, {"obs": OBSERVATIONS})[0], expected, atol=1e-5)
    script = th.jit.load(str(model.export_torchscript(tmp_path / "policy")))
    np.testing.assert_allclose(script(th.as_tensor(OBSERVATIONS)).numpy(), expected, atol=1e-5)
    loaded = SmallTD3Policy.load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(OBSERVATIONS)[0], expected)
