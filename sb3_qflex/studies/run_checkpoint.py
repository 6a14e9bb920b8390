"""Checkpoints of a run in progress: its command, started again, goes on from the last one.

A checkpoint is written aside and appears by a rename, so that one is whole whatever kills the process.
"""

import pickle
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, EvalCallback

from sb3_qflex.common.persistence import sync
from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.recorder import RunRecorder, all_callbacks
from sb3_qflex.studies.run_folder import CHECKPOINTS
from sb3_qflex.studies.training_state import go_on, restore_training, save_training, states_if_savable

_CALLBACKS, _KEPT, _WRITING, _STEPS = "callbacks.pkl", "kept", ".writing", "steps-"
#: Files of RL Zoo's folder that training adds to.
_ADDED_TO = ("*monitor.csv", "rl_model_*")
_EVALUATION = (
    "best_mean_reward",
    "last_mean_reward",
    "evaluations_timesteps",
    "evaluations_results",
    "evaluations_length",
    "evaluations_successes",
)


class RunCheckpoint(BaseCallback):
    """
    Takes a checkpoint between two rollouts every so often, and goes on from the last one at the start of training.

    On the same machine a run that went on gives what it would have given undisturbed, bit for bit, where the states of
    its environments pickle. Where they do not (MyoSuite 3) they start new episodes with other seeds.

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

    def _save(self) -> None:
        new = self._folder / _WRITING
        shutil.rmtree(new, ignore_errors=True)
        (new / _KEPT).mkdir(parents=True)
        # Where they do not pickle, they do not at the next checkpoint either.
        self._environments = save_training(self.model, new, self._environments)
        (new / _CALLBACKS).write_bytes(pickle.dumps([_state(one) for one in self._callbacks()]))
        for file in self._added_to():
            shutil.copy2(file, new / _KEPT)
        for path in (*new.rglob("*"), new):
            sync(path)
        older = list(self._folder.glob(f"{_STEPS}*"))
        new.rename(self._folder / f"{_STEPS}{self.model.num_timesteps:012d}")
        sync(self._folder)
        for path in older:
            shutil.rmtree(path)

    def _restore(self, found: Path) -> None:
        went_on = restore_training(self.model, found)
        states = pickle.loads((found / _CALLBACKS).read_bytes())
        for callback, state in zip(self._callbacks(), states, strict=True):
            _put_back(callback, state, (self.model.seed or 0) + self.model.num_timesteps)
        if not went_on:
            self._recorder().note_cut()
        for file in (found / _KEPT).iterdir():
            # Monitors have opened files of these names.
            prefix = _before(self.model.num_timesteps) if file.name.endswith("monitor.csv") else ""
            shutil.copy2(file, self._zoo_folder() / f"{prefix}{file.name}")

    def _added_to(self) -> list[Path]:
        return [file for pattern in _ADDED_TO for file in self._zoo_folder().glob(pattern)]

    def _zoo_folder(self) -> Path:
        evaluation = next(one for one in self._callbacks() if isinstance(one, EvalCallback))
        assert evaluation.log_path is not None
        return Path(evaluation.log_path).parent


def last_checkpoint(folder: Path) -> Path | None:
    """
    :param folder: of the checkpoints
    :return: the last whole one, None if there is none
    """
    return max(folder.glob(f"{_STEPS}*"), default=None)


def monitors_before(zoo_folder: Path, steps: int) -> list[Path]:
    """
    :param zoo_folder: of a run that went on from its checkpoint at ``steps``
    :param steps: environment steps
    :return: the monitor files whose episodes ended before it
    """
    return [file for file in zoo_folder.glob("*monitor.csv") if _before(steps) in file.name]


def _before(steps: int) -> str:
    return f"{steps:012d}."


def _state(callback: BaseCallback) -> dict[str, Any]:
    state: dict[str, Any] = {"type": type(callback).__name__, "n_calls": callback.n_calls}
    if isinstance(callback, RunRecorder):
        state["measured"] = callback.measured_so_far()
    if isinstance(callback, EvalCallback):
        state["evaluation"] = {name: getattr(callback, name) for name in _EVALUATION}
        state["environments"] = states_if_savable(callback.eval_env)
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
            go_on(callback.eval_env, state["environments"], seed)
