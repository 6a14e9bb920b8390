"""What a run of a study measures of itself, as a callback that RL Zoo loads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_qflex.common.callbacks import all_callbacks
from sb3_qflex.speed.loop_timer import METHODS, PARTS, Stopwatch
from sb3_qflex.studies.run_folder import write_json

#: Seconds between two notes of progress.
_PAUSE = 2.0


class RunRecorder(BaseCallback):
    """
    Leaves ``progress.json`` (environment steps so far) and, at the end of training, ``measured.json``: environment
    steps, updates, seconds of training split by parts, CPU time, the time of every evaluation, and the steps at which
    all environments began new episodes since theirs could not go on.

    :param folder: where the files go
    :param action_repeat: environment steps of each action, of which SB3 counts one
    """

    def __init__(self, folder: str, action_repeat: int = 1):
        super().__init__()
        self._folder = Path(folder)
        self._action_repeat = action_repeat
        self._stopwatch = Stopwatch()
        self._evaluations: list[dict[str, float]] = []
        self._cut_at: list[int] = []
        self._began: float | None = None
        self._cpu_began = 0.0
        self._noted = 0.0

    def _on_training_start(self) -> None:
        simulated = _simulated(self.model.env)
        for method in ("step_async", "step_wait"):
            self._stopwatch.watch("environment", simulated, method)
        for part, owner, method in _methods(self.model):
            self._stopwatch.watch(part, owner, method)
        for callback in all_callbacks(self.locals["callback"]):
            if isinstance(callback, EvalCallback):
                self._follow(callback)
        self._began, self._cpu_began = self._stopwatch.clock(), time.process_time()

    def _follow(self, callback: EvalCallback) -> None:
        """Time the evaluations and note when each was over."""
        self._stopwatch.watch("evaluation", callback, "_on_step")
        timed = callback._on_step

        def noting() -> bool:
            known = len(callback.evaluations_timesteps)
            goes_on = timed()
            if len(callback.evaluations_timesteps) > known:
                note = {"steps": self._steps(), "seconds": self._elapsed()}
                self._evaluations.append({**note, "evaluation seconds": self._stopwatch.seconds["evaluation"]})
            return goes_on

        callback._on_step = noting  # type: ignore[method-assign]

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What happens inside the ``with`` is no part of the training's time."""
        assert self._began is not None
        began, cpu_began = self._stopwatch.clock(), time.process_time()
        try:
            yield
        finally:
            self._began += self._stopwatch.clock() - began
            self._cpu_began += time.process_time() - cpu_began

    def measured_so_far(self) -> dict[str, Any]:
        """:return: for :meth:`go_on_from`"""
        return {
            "training seconds": self._elapsed(),
            # Of this process alone: what it would have taken on a machine of its own, if environments are stepped here.
            "cpu seconds": time.process_time() - self._cpu_began,
            "parts": dict(self._stopwatch.seconds),
            "evaluations": self._evaluations,
            "episodes cut at": self._cut_at,
        }

    def go_on_from(self, measured: dict[str, Any]) -> None:
        """Count on from the :meth:`measured_so_far` of an earlier process of the run."""
        self._began = self._stopwatch.clock() - measured["training seconds"]
        self._cpu_began = time.process_time() - measured["cpu seconds"]
        self._stopwatch.seconds.update(measured["parts"])
        self._evaluations[:] = measured["evaluations"]
        self._cut_at[:] = measured["episodes cut at"]

    def note_cut(self) -> None:
        """The episodes in progress are lost: all environments begin new ones."""
        self._cut_at.append(self._steps())

    def _steps(self) -> int:
        return self._action_repeat * self.model.num_timesteps

    def _elapsed(self) -> float:
        assert self._began is not None
        return self._stopwatch.clock() - self._began

    def _on_step(self) -> bool:
        if time.monotonic() - self._noted > _PAUSE:
            write_json(self._folder / "progress.json", {"steps": self._steps(), "seconds": self._elapsed()})
            self._noted = time.monotonic()
        return True

    def _on_training_end(self) -> None:
        # RL Zoo calls this again after ``learn``, and also where training never began.
        if self._began is None or (self._folder / "measured.json").exists():
            return
        measured = self.measured_so_far()
        self._stopwatch.release()
        timed = measured.pop("parts")
        parts = {part: timed.get(part, 0.0) for part in (*PARTS[:-1], "evaluation")}
        measured |= {
            "steps": self._steps(),
            "environments": self.model.n_envs,
            "updates": int(getattr(self.model, "_n_updates", 0)),
            "time split": {**parts, "other": measured["training seconds"] - sum(parts.values())},
        }
        write_json(self._folder / "measured.json", measured)


def _simulated(env: VecEnv | None) -> VecEnv:
    """The environments beneath a ``VecNormalize``: that object is saved while it is trained with, they are not."""
    assert env is not None
    while isinstance(env, VecNormalize):
        env = env.venv
    return env


def _methods(model: Any) -> list[tuple[str, Any, str]]:
    """
    Parts, owners and names of the methods to time. The algorithm's own are timed on its class: what is set on the
    model itself would be saved with it.
    """
    if isinstance(model, OnPolicyAlgorithm):
        update = ("update", type(model), METHODS["update"])
        return [("acting", model.policy, "forward"), ("buffer", model.rollout_buffer, "add"), update]
    if isinstance(model, OffPolicyAlgorithm):
        return [(part, type(model), method) for part, method in METHODS.items()]
    return []
