"""The callback that takes checkpoints, also where SIGTERM and SIGINT wish for an end."""

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_qflex.checkpoint.errors import CheckpointError
from sb3_qflex.checkpoint.layout import CheckpointFolder
from sb3_qflex.checkpoint.saving import Content, Lineage, save
from sb3_qflex.common import validation
from sb3_qflex.common.callbacks import check_called_at_rollouts
from sb3_qflex.common.collecting import StopTrainingError
from sb3_qflex.common.off_policy import OffPolicyBase

logger = logging.getLogger(__name__)


class StopSignals:
    """
    While entered, the first of these signals sets :attr:`received`; the second does what it would have done before.

    Only Python's main thread may handle signals: elsewhere this does nothing but say so. A signal that the process
    ignores, as SIGINT of a command in the background, stays ignored.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is not threading.main_thread():
            logger.info("Outside the main thread signals cannot be handled: no checkpoint on SIGTERM and SIGINT.")
            return self
        for number in self.SIGNALS:
            previous = signal.getsignal(number)
            # None: a handler that was not set from Python could not be put back.
            if previous not in (signal.SIG_IGN, None):
                self._previous[number] = previous
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()


class TrainingCheckpoint(BaseCallback):
    """
    Keeps a checkpoint from which :meth:`QFlex.resume` goes on as if training had never stopped.

    Unlike SB3's ``CheckpointCallback``, which leaves models behind for later use, it saves all that training goes on
    from, together: networks and optimizers, statistics of ``VecNormalize``, step counts, replay data, random states and
    the environments where they can be pickled. The folder always holds the last two of them; being killed at any moment
    leaves at least the one before.

    Checkpoints are taken between two rollouts: every so many steps, at the end of ``learn``, and on SIGTERM or SIGINT,
    after which ``learn`` returns as at its end. The second such signal does what it would have done without the
    callback. Outside Python's main thread signals are left alone.

    :param folder: Where to keep them: a new or empty folder, or that of the training the model was resumed from
    :param every: Environment steps (of all environments together) between two checkpoints, at least 1
    :param replay: Whether to save the replay buffer; without it a resumed model first collects ``learning_starts``
        transitions with its own policy
    :param environments: Whether to save the environments' states where possible; otherwise they start new episodes
    :param on_error: When a checkpoint at the interval cannot be written: "raise", or "log" the error and go on
    :param verbose: Verbosity level: 0 for no output, 1 to print each checkpoint
    :raises ValueError: For values out of range
    :raises CheckpointError: At the start of training, if the folder is in use, holds something else or another training
    """

    model: OffPolicyBase

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int = 10_000,
        replay: bool = True,
        environments: bool = True,
        on_error: str = "raise",
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        validation.check_count("every", every)
        validation.check_choice("on_error", on_error, ("raise", "log"))
        self.folder = CheckpointFolder(folder)
        self.every = every
        self.on_error = on_error
        self._content = Content(replay, environments)
        self._signals = StopSignals()
        self._last_attempt = 0
        # Between the start of training and its end; RL Zoo calls on_training_end twice.
        self._active = False
        self._in_rollout = False

    @staticmethod
    def exists(folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds a checkpoint to resume from, so that a script can simply be started again."""
        return bool(CheckpointFolder(folder).numbers())

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def _algorithm(self) -> str:
        return type(self.model).__name__

    def _init_callback(self) -> None:
        if not isinstance(self.model, OffPolicyBase):
            raise CheckpointError(
                "TrainingCheckpoint works with the off-policy algorithms of this package, not with "
                f"{self._algorithm}: use SB3's CheckpointCallback there."
            )

    def _on_training_start(self) -> None:
        check_called_at_rollouts(self, self.locals["callback"])
        undo = self.model.while_learning
        assert undo is not None
        try:
            self.folder.create()
            undo.enter_context(self.folder.lock(write=True))
            self._join()
            self.folder.clean()
        except OSError as error:
            raise CheckpointError(
                f"Checkpoints cannot be written to {self.path}: {error.strerror or error}. Nothing was trained yet."
            ) from error
        self._signals = undo.enter_context(StopSignals())
        undo.callback(self._end)
        self._active = True
        self._last_attempt = self.model.num_timesteps

    def _end(self) -> None:
        self._active = False

    def _join(self) -> None:
        """Make sure that the folder is new, or goes on with this model's training."""
        run, lineage = self.folder.run(), self.model.checkpoint_lineage
        if not self.folder.numbers():
            self.model.checkpoint_lineage = Lineage(run, self.model.num_timesteps)
        elif lineage is None or lineage.run != run:
            raise CheckpointError(
                f"{self.path} holds the checkpoints of another training. To go on with it, start from "
                f"{self._algorithm}.resume({str(self.path)!r}, env); otherwise give another folder. Nothing is "
                "overwritten."
            )
        elif self.model.num_timesteps < lineage.num_timesteps:
            raise CheckpointError(
                f"{self.path} has a checkpoint of step {lineage.num_timesteps}, and the model counts from step "
                f"{self.model.num_timesteps} again: pass reset_num_timesteps=False to learn(), or give another folder."
            )

    def _on_rollout_start(self) -> None:
        if self._signals.received is not None:
            self._save()
            print(f"{self._signals.received.name}: training stops at step {self.model.num_timesteps}.", flush=True)
            raise StopTrainingError
        if self.model.num_timesteps - self._last_attempt >= self.every:
            self._last_attempt = self.model.num_timesteps
            self._save_at_interval()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if not self._active:
            return
        if self._is_new():
            self._save()

    def _is_new(self) -> bool:
        lineage = self.model.checkpoint_lineage
        return not self.folder.numbers() or lineage is None or lineage.num_timesteps != self.model.num_timesteps

    def _save_at_interval(self) -> None:
        try:
            self._save()
        except CheckpointError as error:
            if self.on_error == "raise":
                raise
            logger.error("%s Training goes on.", error)

    def _save(self) -> None:
        content = self._content
        if self.model._last_obs is None:
            content = Content(content.replay, environments=False)
        try:
            manifest = save(self.model, self.folder, content, self.locals["callback"])
        except OSError as error:
            raise CheckpointError(self._why_not(error)) from error
        if content.environments and not manifest.environments:
            # It would fail again each time, and the log has said so.
            self._content = Content(content.replay, environments=False)
        if self.verbose >= 1:
            print(f"Checkpoint of step {manifest.num_timesteps} in {self.folder.generation(manifest.generation)}")

    def _why_not(self, error: OSError) -> str:
        lineage = self.model.checkpoint_lineage
        there = (
            f"The checkpoint of step {lineage.num_timesteps} is whole"
            if lineage is not None and self.folder.numbers()
            else "There is no earlier one"
        )
        return (
            f"The checkpoint of step {self.model.num_timesteps} cannot be written to {self.path}: "
            f"{error.strerror or error}. {there}. Make room, or writable, and go on with {self._algorithm}.resume()."
        )
