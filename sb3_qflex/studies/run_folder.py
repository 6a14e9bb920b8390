"""The folder of one run: what is begun, what is finished, and what of it may be thrown away.

``done.json`` is written last and in one step: a run without it has not finished. It goes on from its last checkpoint,
or is made anew from its seed where there is none.
"""

import json
import shlex
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.plan import Plan, differences

DONE = "done.json"
#: Folder of the checkpoints that a run in progress takes.
CHECKPOINTS = "checkpoints"
_BEGUN, _PROGRESS, _MEASURED, _LOG, _ZOO = "begun.json", "progress.json", "measured.json", "log.txt", "zoo"


class IncompleteRunError(RuntimeError):
    """A training process ended without an error and yet did not do all that was asked."""


@dataclass(frozen=True)
class RunFolder:
    """
    A run and where it lies.

    :param plan: what is run
    :param root: folder of the study's runs
    :param checkpoint_seconds: between two checkpoints of a run in progress
    """

    plan: Plan
    root: Path
    checkpoint_seconds: int = 600

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root / self.plan.name

    @property
    def log(self) -> Path:
        """What the training process prints."""
        return self.path / _LOG

    def done(self) -> dict[str, Any] | None:
        """
        :return: the record of a finished run, None of an unfinished one
        :raises StudyError: if the folder holds a run with other settings
        """
        done, begun = (read_json(self.path / name) for name in (DONE, _BEGUN))
        for known in (done, begun):
            if known and (different := differences(known["settings"], self.plan.settings())):
                raise StudyError(
                    f"{self.path} holds a run with other settings ({different}). "
                    "Choose another folder with --out, or move that run away."
                )
        return done

    def steps_done(self) -> int:
        """:return: environment steps that the running or finished process noted last"""
        progress = read_json(self.path / _PROGRESS)
        return int(progress["steps"]) if progress else 0

    def seconds_per_step(self) -> float | None:
        """:return: of the running process so far, None before its first steps"""
        progress = read_json(self.path / _PROGRESS)
        return progress["seconds"] / progress["steps"] if progress and progress["steps"] else None

    def begin(self) -> list[str]:
        """
        Make the folder ready; what an earlier, unfinished process left of the run is removed but for its checkpoints.

        :return: the command to run
        """
        earlier = read_json(self.path / _BEGUN)
        for name in (_PROGRESS, _MEASURED):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / _ZOO, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        begun = [*(earlier["begun"] if earlier else []), _now()]
        write_json(self.path / _BEGUN, {"settings": self.plan.settings(), "begun": begun})
        entry = self.plan.hyperparameter_file(self.path, self.checkpoint_seconds)
        (self.path / "hyperparameters.yml").write_text(entry)
        return self.plan.command(self.path)

    def finish(self, command: list[str], began: float, made_with: dict[str, Any]) -> None:
        """
        Check that the run is whole and write its record.

        :param command: what was run
        :param began: ``time.perf_counter()`` before it
        :param made_with: versions, git revision and machine
        :raises IncompleteRunError: if something is missing
        """
        seconds = time.perf_counter() - began
        measured = read_json(self.path / _MEASURED)
        if measured is None or measured["steps"] < self.plan.budget:
            raise IncompleteRunError(f"{self.path}: training stopped before {self.plan.budget} steps; see {self.log}")
        folder = self._zoo_folder()
        # The best of noisy evaluations is no result of a study, and as large as the model.
        (folder / "best_model.zip").unlink(missing_ok=True)
        record = {
            "settings": self.plan.settings(),
            "command": shlex.join(command),
            "zoo folder": str(folder.relative_to(self.path)),
            # More than one: earlier processes were killed; the last went on from a checkpoint, or began anew.
            "begun": read_json(self.path / _BEGUN)["begun"],
            "finished": _now(),
            "seconds": seconds,
            **measured,
            **made_with,
        }
        write_json(self.path / DONE, record)
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def _zoo_folder(self) -> Path:
        folders = [path.parent for path in (self.path / _ZOO).glob("*/*/evaluations.npz")]
        if len(folders) != 1 or not list(folders[0].glob("*.zip")):
            raise IncompleteRunError(f"{self.path}: no evaluations or no model; see {self.log}")
        with np.load(folders[0] / "evaluations.npz") as evaluations:
            if not len(evaluations["timesteps"]):
                raise IncompleteRunError(f"{self.path}: no evaluation was made; see {self.log}")
        return folders[0]


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file in one step: it is there whole or not at all."""
    content = (json.dumps(data, indent=1) + "\n").encode()
    write_atomically(path, content, "json")


def read_json(path: Path) -> Any:
    """The data of a JSON file, None if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
