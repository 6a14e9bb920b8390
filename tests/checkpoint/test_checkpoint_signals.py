"""SIGTERM and SIGINT end training at the next good moment, with a checkpoint; SIGKILL leaves the last one."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from helpers.checkpoint_samples import assert_equal, everything
from helpers.places import ROOT
from helpers.small_models import small_model
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex, TrainingCheckpoint
from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
from sb3_qflex.vec_env import WorkerVecEnv


class Signal(BaseCallback):
    """Sends a signal to this process, once or twice."""

    def __init__(self, number: int, at: int, times: int = 1) -> None:
        super().__init__()
        self.number, self.at, self.times = number, at, times

    def _on_step(self) -> bool:
        if self.num_timesteps == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
        return True


@pytest.fixture
def python_handlers():
    """The handlers of an ordinary Python process, whatever runs these tests."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


def chain() -> PlanarChainVecEnv:
    return PlanarChainVecEnv(4, n_links=3, max_episode_steps=7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_a_checkpoint_and_stops(number, tmp_path, python_handlers, capsys):
    whole = small_model(chain()).learn(80, TrainingCheckpoint(tmp_path / "whole"))
    expected = everything(whole)
    stopped = small_model(chain())
    stopped.learn(80, [Signal(number, at=40), TrainingCheckpoint(tmp_path / "stopped")])
    assert stopped.num_timesteps == 40
    assert f"{number.name}: training stops at step 40" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    resumed = QFlex.resume(tmp_path / "stopped", chain(), device="cpu")
    resumed.learn(40, TrainingCheckpoint(tmp_path / "stopped"), reset_num_timesteps=False)
    assert_equal(everything(resumed), expected)


def test_the_second_signal_does_what_it_did_before(tmp_path, python_handlers):
    model = small_model(chain())
    with pytest.raises(KeyboardInterrupt):
        model.learn(80, [TrainingCheckpoint(tmp_path, every=12), Signal(signal.SIGINT, at=40, times=2)])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert QFlex.resume(tmp_path, chain(), device="cpu").num_timesteps == 36


def test_handlers_are_put_back_after_an_error(tmp_path, python_handlers):
    class Fail(BaseCallback):
        def _on_step(self) -> bool:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        small_model(chain()).learn(80, [TrainingCheckpoint(tmp_path), Fail()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored(tmp_path, python_handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    model = small_model(chain()).learn(48, [Signal(signal.SIGINT, at=24), TrainingCheckpoint(tmp_path)])
    assert model.num_timesteps == 48


def test_outside_the_main_thread(tmp_path, caplog):
    caplog.set_level("INFO")
    model = small_model(chain())
    thread = threading.Thread(target=model.learn, args=(24, TrainingCheckpoint(tmp_path)))
    thread.start()
    thread.join()
    assert "Outside the main thread" in caplog.text
    assert QFlex.resume(tmp_path, chain(), device="cpu").num_timesteps == 24


def test_workers_outlive_a_signal_to_the_whole_group(tmp_path, python_handlers):
    env = make_vec_env(
        "Pendulum-v1", 2, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"n_workers": 1, "start_method": "fork"}
    )
    try:
        os.kill(env._workers[0].pid, signal.SIGTERM)
        model = small_model(env).learn(30, TrainingCheckpoint(tmp_path))
    finally:
        env.close()
    assert model.num_timesteps == 30


def test_killed_at_random_moments(tmp_path):
    out = tmp_path / "kills.json"
    path = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, str(ROOT / "tests/robustness/inject_kills.py"), "--kills", "3", "--out", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, timeout=500)
    row = json.loads(out.read_text())
    assert row["count"] == 3
    assert row["outcome"].startswith("0 unreadable checkpoints, 0 failed resumes")
