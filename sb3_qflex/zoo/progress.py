"""``progress.csv`` in the run folder: RL Zoo leaves returns and evaluations there, but no ``train/`` values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import CSVOutputFormat

from sb3_qflex.zoo.algorithms import class_of

#: Name of the file in a run folder.
PROGRESS_FILE = "progress.csv"


class ProgressFile(BaseCallback):
    """Write all that is logged to a CSV file as well, one row for each dump, behind the rows that are there."""

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._output: CSVOutputFormat | None = None

    def _on_training_start(self) -> None:
        before = self.path.read_text() if self.path.is_file() else ""
        self._output = CSVOutputFormat(str(self.path))
        if before:
            # SB3's format begins a new file; these are the columns that it goes on with.
            self._output.file.write(before)
            self._output.keys = before.splitlines()[0].split(",")
        self.logger.output_formats.append(self._output)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self._output is not None:
            self.logger.output_formats.remove(self._output)
            self._output.close()
            self._output = None


def with_progress_file(create_callbacks: Callable[[Any], None], self: Any) -> None:
    """Around ``ExperimentManager.create_callbacks``: our algorithms write ``progress.csv``."""
    create_callbacks(self)
    if not self.optimize_hyperparameters and class_of(self.algo) is not None:
        # Last: the Zoo ends the first callback a second time, to clean its progress bar up.
        self.callbacks.append(ProgressFile(Path(self.save_path) / PROGRESS_FILE))
