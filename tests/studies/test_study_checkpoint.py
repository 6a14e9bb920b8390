"""Runs of a study that were killed and go on from their last checkpoint."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers.small_models import SMALL, assert_same
from sb3_contrib import CrossQ
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import VecNormalize

import sb3_qflex.envs  # noqa: F401 registers the ids
from sb3_qflex import QSM, DynSynPPO, LatticeRecurrentPPO, QFlex, RepeatUntil
from sb3_qflex.envs import ActionRepeat
from sb3_qflex.sac.sac import SAC as OurSAC
from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.recorder import RunRecorder
from sb3_qflex.studies.run_checkpoint import RunCheckpoint, last_checkpoint, monitors_before
from sb3_qflex.studies.run_folder import CHECKPOINTS

OFF_POLICY = {key: SMALL[key] for key in ("learning_starts", "batch_size", "buffer_size", "seed", "device")}
STEPS = 300


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class KilledAt(BaseCallback):
    """
    :param steps: where training ends at once; None for never
    """

    def __init__(self, steps: int | None):
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        if self.num_timesteps == self.steps:
            raise Killed
        return True


class EveryFewSteps(RunCheckpoint):
    """By steps instead of seconds: a test is over before any time that one would give."""

    def _is_due(self) -> bool:
        steps = self.model.num_timesteps
        return steps % 64 == 0 and not (self._folder / f"steps-{steps:012d}").exists()


class Process:
    """What RL Zoo does with the command of a run: a new model, in an empty folder of its own."""

    def __init__(
        self,
        folder: Path,
        build: Callable[..., BaseAlgorithm],
        make: Callable[..., Any],
        checkpoint: type = EveryFewSteps,
    ):
        self.folder, self.zoo = folder, folder / "zoo"
        shutil.rmtree(self.zoo, ignore_errors=True)
        (folder / "measured.json").unlink(missing_ok=True)
        env = VecNormalize(make_vec_env(make, 2, seed=0, monitor_dir=str(self.zoo)))
        evaluated = VecNormalize(make_vec_env(make, 1, seed=7), training=False, norm_reward=False)
        self.model = build(env)
        # Its own, as in RL Zoo's: evaluations and models are made every 100 and 90 steps.
        self.evaluation = EvalCallback(
            evaluated, n_eval_episodes=2, eval_freq=50, log_path=str(self.zoo), verbose=0, warn=False
        )
        saving = CheckpointCallback(45, str(self.zoo))
        self.callbacks = [RunRecorder(str(folder)), checkpoint(str(folder), 600), saving, self.evaluation]

    def learn(self, killed_at: int | None = None) -> None:
        self.model.learn(STEPS, callback=[*self.callbacks, KilledAt(killed_at)])

    def killed_at(self, steps: int) -> None:
        with pytest.raises(Killed):
            self.learn(steps)


def qflex(env: Any) -> QFlex:
    return QFlex("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, ent_coef="auto", **SMALL)


def sac_with_n_steps(env: Any) -> SAC:
    return SAC("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, n_steps=3, **OFF_POLICY)


def sac_on_our_base(env: Any) -> OurSAC:
    return OurSAC("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, gradient_steps=2, **OFF_POLICY)


def crossq(env: Any) -> CrossQ:
    return CrossQ("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, **OFF_POLICY)


def ppo(env: Any) -> PPO:
    return PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=2, seed=0, device="cpu")


def dynsyn_ppo(env: Any) -> DynSynPPO:
    groups = {"groups": [[0, 2], [1]]}
    options = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "weight_a0": 100.0, "weight_k": 1e-3}
    return DynSynPPO("MlpPolicy", env, policy_kwargs={"net_arch": [8], **groups}, seed=0, device="cpu", **options)


def lattice_ppo_lstm(env: Any) -> LatticeRecurrentPPO:
    policy = {"net_arch": [8], "lstm_hidden_size": 8}
    options = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "use_sde": True, "sde_sample_freq": 4}
    return LatticeRecurrentPPO("MlpLstmPolicy", env, policy_kwargs=policy, seed=0, device="cpu", **options)


def qsm(env: Any) -> QSM:
    # The learning rate of its policy falls with the number of its updates.
    options = {key: SMALL[key] for key in OFF_POLICY}
    course = {"policy_lr_begin": 10, "actor_lr_decay_steps": 100, "policy_lr_end": 1e-5}
    return QSM("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, diffusion_steps=2, **course, **options)


def chain(**kwargs: Any) -> gym.Env:
    return gym.make("PlanarChain-v0", n_links=3, **kwargs)


class WithLock(gym.Wrapper):
    """An environment that does not pickle, as those of MyoSuite 3."""

    def __init__(self, **kwargs: Any):
        super().__init__(chain(**kwargs))
        self.lock = threading.Lock()


@pytest.mark.parametrize("build", [qflex, sac_with_n_steps, crossq, ppo, dynsyn_ppo, lattice_ppo_lstm, qsm])
def test_a_killed_run_gives_what_it_would_have_given(build: Callable, tmp_path: Path) -> None:
    undisturbed = Process(tmp_path / "undisturbed", build, chain, RunCheckpoint)
    undisturbed.learn()
    # In the middle of a rollout and of an episode, before and after the first evaluation.
    Process(tmp_path / "killed", build, chain).killed_at(90)
    Process(tmp_path / "killed", build, chain).killed_at(210)
    killed = Process(tmp_path / "killed", build, chain)
    killed.learn()

    assert_same(dict(undisturbed.model.policy.state_dict()), dict(killed.model.policy.state_dict()))
    with np.load(undisturbed.zoo / "evaluations.npz") as expected, np.load(killed.zoo / "evaluations.npz") as found:
        assert expected["timesteps"].tolist() == [100, 200, 300]
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    # In the order of their ends, by which the training curve counts steps.
    episodes = [load_results(str(one.zoo))[["r", "l"]].values.tolist() for one in (undisturbed, killed)]
    assert len(episodes[0]) == 6
    assert episodes[1] == episodes[0]
    names = [{path.name for path in one.zoo.glob("rl_model_*")} for one in (undisturbed, killed)]
    assert len(names[0]) == 3 and names[1] == names[0]


def held_chain(**kwargs: Any) -> gym.Env:
    return ActionRepeat(chain(**kwargs), 2)


# Killed before that step and after it, the callback that ends it before ours and behind.
@pytest.mark.parametrize(("killed_at", "place"), [(130, 0), (210, 4)])
def test_the_end_of_held_actions_is_that_of_an_undisturbed_run(killed_at: int, place: int, tmp_path: Path) -> None:
    def process(folder: str, checkpoint: type = EveryFewSteps) -> Process:
        one = Process(tmp_path / folder, sac_on_our_base, held_chain, checkpoint)
        one.callbacks.insert(place, RepeatUntil(0.5))
        return one

    undisturbed = process("undisturbed", RunCheckpoint)
    undisturbed.learn()
    process("killed").killed_at(killed_at)
    killed = process("killed")
    killed.learn()
    for name in ("gamma", "gradient_steps", "train_freq", "repeat_ended_at", "_n_updates"):
        assert getattr(killed.model, name) == getattr(undisturbed.model, name)
    assert killed.model.repeat_ended_at == 150
    assert_same(dict(undisturbed.model.policy.state_dict()), dict(killed.model.policy.state_dict()))


def test_measurements_go_on(tmp_path: Path) -> None:
    Process(tmp_path, qflex, chain).killed_at(250)
    first = last_checkpoint(tmp_path / CHECKPOINTS)
    assert first is not None and first.name.endswith("000192")
    Process(tmp_path, qflex, chain).learn()
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["episodes cut at"] == []
    assert (measured["steps"], measured["updates"]) == (STEPS, (STEPS - 20) // 2)
    assert [note["steps"] for note in measured["evaluations"]] == [100, 200, 300]
    seconds = [note["seconds"] for note in measured["evaluations"]]
    assert seconds == sorted(seconds) and seconds[-1] <= measured["training seconds"]
    assert sum(measured["time split"].values()) == pytest.approx(measured["training seconds"])
    assert min(measured["time split"].values()) > 0


def test_evaluations_before_the_last_checkpoint_are_kept(tmp_path: Path) -> None:
    Process(tmp_path, sac_with_n_steps, chain).killed_at(280)
    process = Process(tmp_path, sac_with_n_steps, chain)
    # No evaluation comes after step 256, at which it goes on.
    process.evaluation.eval_freq = 1000
    process.learn()
    with np.load(process.zoo / "evaluations.npz") as found:
        assert found["timesteps"].tolist() == [100, 200]


def test_environments_that_do_not_pickle_start_new_episodes(tmp_path: Path) -> None:
    Process(tmp_path, sac_with_n_steps, WithLock).killed_at(250)
    process = Process(tmp_path, sac_with_n_steps, WithLock)
    process.learn()
    buffer = process.model.replay_buffer
    assert process.model.num_timesteps == STEPS and buffer.size() == STEPS // 2
    # The episodes of 50 steps were cut at step 96 of each environment, and n-step returns end there.
    ends = np.flatnonzero(buffer.dones[: buffer.size(), 0])
    assert ends.tolist() == [49, 95, 145]
    np.testing.assert_array_equal(buffer.timeouts, buffer.dones)
    starts = [buffer.observations[index] for index in (0, 50, 96, 146)]
    assert len({start.tobytes() for start in starts}) == 4
    # The interrupted episodes are in no monitor file, and the record says where they are missing.
    assert len(load_results(str(process.zoo))) == 2 + 2
    assert json.loads((tmp_path / "measured.json").read_text())["episodes cut at"] == [192]
    assert len(monitors_before(process.zoo, 192)) == 2


def test_half_written_checkpoints_are_not_used(tmp_path: Path) -> None:
    process = Process(tmp_path, crossq, chain)
    process.killed_at(100)
    found = last_checkpoint(tmp_path / CHECKPOINTS)
    assert found is not None
    half = tmp_path / CHECKPOINTS / ".writing"
    shutil.copytree(found, half)
    (half / "model.zip").unlink()
    again = Process(tmp_path, crossq, chain)
    again.killed_at(130)
    assert again.model.num_timesteps == 130
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["steps-000000000128"]


def test_a_checkpoint_that_does_not_load_says_so(tmp_path: Path) -> None:
    Process(tmp_path, crossq, chain).killed_at(100)
    with pytest.raises(StudyError, match=r"steps-000000000064 does not load .*remove it to make the run anew"):
        Process(tmp_path, ppo, chain).learn()


def test_without_a_checkpoint_a_run_begins_anew(tmp_path: Path) -> None:
    Process(tmp_path, crossq, chain, RunCheckpoint).killed_at(100)
    assert not (tmp_path / CHECKPOINTS).exists()
    process = Process(tmp_path, crossq, chain, RunCheckpoint)
    process.learn()
    assert len(load_results(str(process.zoo))) == 6
