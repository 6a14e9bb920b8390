"""Checkpoints of a run in progress: its command, started again, goes on from the last one.

A checkpoint is written aside and appears by a rename, so that one is whole whatever kills the process. It is for any
algorithm of SB3, unlike :mod:`sb3_qflex.checkpoint`, and put back in place: RL Zoo builds the model anew with the same
settings and calls ``learn``.
"""

import pickle
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.checkpoint.environments import EnvironmentStates, get_states, restore_statistics, set_states
from sb3_qflex.checkpoint.randomness import get_random_states, set_random_states
from sb3_qflex.common.callbacks import all_callbacks, evaluation_state
from sb3_qflex.common.off_policy import OffPolicyBase
from sb3_qflex.common.persistence import sync
from sb3_qflex.common.replay import cut_streams
from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.recorder import RunRecorder
from sb3_qflex.studies.run_folder import CHECKPOINTS
from sb3_qflex.vec_env.errors import NotSavableError
from sb3_qflex.zoo.progress import PROGRESS_FILE

_KEPT, _WRITING, _STEPS = "kept", ".writing", "steps-"
_MODEL, _REPLAY, _STATE, _NORMALIZATION = "model.zip", "replay.pkl", "state.pkl", "vecnormalize.pkl"
#: Files of RL Zoo's folder that training adds to.
_ADDED_TO = ("*monitor.csv", "rl_model_*", "evaluations.npz", PROGRESS_FILE)
#: Attributes in SB3's zip files that are of the process that learns.
_OF_THE_PROCESS = {"start_time", "tensorboard_log", "verbose"}
_MEMORY = "_last_lstm_states"


class RunCheckpoint(BaseCallback):
    """
    Takes a checkpoint between two rollouts every so often, and goes on from the last one at the start of training.

    On the same machine a run that went on gives what it would have given undisturbed, bit for bit, where the states of
    its environments pickle. Where they do not (MyoSuite 3) they start new episodes with other seeds. The noise of SB3's
    gSDE (``use_sde``) off-policy is drawn anew.

    :param folder: of the run
    :param every: seconds between two checkpoints
    :raises StudyError: at the start of training, if there is a checkpoint that does not load
    """

    def __init__(self, folder: str, every: float):
        super().__init__()
        self._folder = Path(folder) / CHECKPOINTS
        self._every = every
        self._last = 0.0
        self._environments = True

    def _on_training_start(self) -> None:
        self._last = time.monotonic()
        found = last_checkpoint(self._folder)
        if found is None:
            return
        try:
            self._restore(found)
        except Exception as error:
            # Whatever a file of another version raises.
            raise StudyError(f"{found} does not load ({error!r}): remove it to make the run anew") from error

    def _on_rollout_start(self) -> None:
        if self._is_due():
            with self._recorder().uncounted():
                self._save()
            self._last = time.monotonic()

    def _is_due(self) -> bool:
        return time.monotonic() - self._last >= self._every

    def _on_step(self) -> bool:
        return True

    def _callbacks(self) -> Sequence[BaseCallback]:
        return all_callbacks(self.locals["callback"])

    def _recorder(self) -> RunRecorder:
        return next(one for one in self._callbacks() if isinstance(one, RunRecorder))

    def _zoo_folder(self) -> Path:
        evaluation = next(one for one in self._callbacks() if isinstance(one, EvalCallback))
        assert evaluation.log_path is not None
        return Path(evaluation.log_path).parent

    def _save(self) -> None:
        new = self._folder / _WRITING
        shutil.rmtree(new, ignore_errors=True)
        (new / _KEPT).mkdir(parents=True)
        _save_training(self.model, new)
        # Where they do not pickle, they do not at the next checkpoint either.
        states = _states(self.training_env) if self._environments else None
        self._environments = states is not None
        state = {
            "random": get_random_states(self.model.action_space),
            "model": self.model.training_state() if isinstance(self.model, OffPolicyBase) else None,
            "environments": states,
            # sb3-contrib's RecurrentPPO does not save it.
            "memory": getattr(self.model, _MEMORY, None),
            "callbacks": [_state(one) for one in self._callbacks()],
        }
        (new / _STATE).write_bytes(pickle.dumps(state))
        for file in [file for pattern in _ADDED_TO for file in self._zoo_folder().glob(pattern)]:
            shutil.copy2(file, new / _KEPT)
        for path in (*new.rglob("*"), new):
            sync(path)
        older = list(self._folder.glob(f"{_STEPS}*"))
        new.rename(self._folder / f"{_STEPS}{self.model.num_timesteps:012d}")
        sync(self._folder)
        for path in older:
            shutil.rmtree(path)

    def _restore(self, found: Path) -> None:
        _restore_training(self.model, found)
        state = pickle.loads((found / _STATE).read_bytes())
        # Not with the episodes that the run began with, where environments do not go on.
        seed = (self.model.seed or 0) + self.model.num_timesteps
        went_on = _go_on(self.training_env, state["environments"], seed)
        if not went_on:
            _start_episodes(self.model, self.training_env)
        if isinstance(self.model, OffPolicyBase):
            self.model.restore_training_state(state["model"])
        if state.get("memory") is not None:
            setattr(self.model, _MEMORY, state["memory"])
        set_random_states(self.model.action_space, state["random"])
        for callback, its_state in zip(self._callbacks(), state["callbacks"], strict=True):
            _put_back(callback, its_state, seed)
        if not went_on:
            self._recorder().note_cut()
        for file in (found / _KEPT).iterdir():
            # Monitors have opened files of these names.
            prefix = _before(self.model.num_timesteps) if file.name.endswith("monitor.csv") else ""
            shutil.copy2(file, self._zoo_folder() / f"{prefix}{file.name}")


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint in a folder, None if there is none."""
    return max(folder.glob(f"{_STEPS}*"), default=None)


def monitors_before(zoo_folder: Path, steps: int) -> list[Path]:
    """Monitor files whose episodes ended before a run went on from its checkpoint at so many steps."""
    return [file for file in zoo_folder.glob("*monitor.csv") if _before(steps) in file.name]


def _before(steps: int) -> str:
    return f"{steps:012d}."


def _save_training(model: BaseAlgorithm, folder: Path) -> None:
    model.save(folder / _MODEL)
    if isinstance(model, OffPolicyAlgorithm):
        model.save_replay_buffer(folder / _REPLAY)
    if (normalization := model.get_vec_normalize_env()) is not None:
        normalization.save(str(folder / _NORMALIZATION))


def _restore_training(model: BaseAlgorithm, folder: Path) -> None:
    assert model.env is not None
    data, parameters, variables = load_from_zip_file(folder / _MODEL, device=model.device)
    assert data is not None
    model.set_parameters(parameters, exact_match=True, device=model.device)
    for name, value in (variables or {}).items():
        recursive_setattr(model, f"{name}.data", value.data)
    # As SB3's load does: the settings are the same, but for those that change in training.
    vars(model).update({name: value for name, value in data.items() if name not in _OF_THE_PROCESS})
    if isinstance(model, OffPolicyAlgorithm):
        model.load_replay_buffer(folder / _REPLAY, truncate_last_traj=False)
    statistics = folder / _NORMALIZATION
    restore_statistics(model.env, statistics.read_bytes() if statistics.exists() else None)


def _start_episodes(model: BaseAlgorithm, env: VecEnv) -> None:
    """In environments that do not go on; the streams of the replay data are cut there."""
    model._last_obs = env.reset()  # type: ignore[assignment]
    model._last_episode_starts[:] = True  # type: ignore[index]
    if model._vec_normalize_env is not None:
        model._last_original_obs = model._vec_normalize_env.get_original_obs()
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        cut_streams(model.replay_buffer)


def _states(env: VecEnv) -> EnvironmentStates | None:
    """The states of environments; None if they do not pickle."""
    try:
        return get_states(env)
    except NotSavableError:
        return None


def _go_on(env: VecEnv, states: EnvironmentStates | None, seed: int) -> bool:
    """Put environments where they were, or seed their episodes to come where there are no states."""
    if states is None:
        env.seed(seed % 2**32)
        return False
    env.reset()  # takes the seeds that wait for it, which would come after the states
    set_states(env, states)
    return True


def _state(callback: BaseCallback) -> dict[str, Any]:
    state: dict[str, Any] = {"type": type(callback).__name__, "n_calls": callback.n_calls}
    if isinstance(callback, RunRecorder):
        state["measured"] = callback.measured_so_far()
    if isinstance(callback, EvalCallback):
        state["evaluation"] = evaluation_state(callback)
        state["environments"] = _states(callback.eval_env)
    return state


def _put_back(callback: BaseCallback, state: dict[str, Any], seed: int) -> None:
    if state["type"] != type(callback).__name__:
        raise ValueError(f"it has the callback {state['type']} where this run has {type(callback).__name__}")
    callback.n_calls = state["n_calls"]
    if isinstance(callback, RunRecorder):
        callback.go_on_from(state["measured"])
    if isinstance(callback, EvalCallback):
        vars(callback).update(state["evaluation"])
        # Before the first evaluation the seeds of its environments still wait for their reset.
        if callback.evaluations_timesteps:
            _go_on(callback.eval_env, state["environments"], seed)
