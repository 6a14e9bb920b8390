"""One run as a process that dies with its runner."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sb3_qflex.studies.provenance import provenance
from sb3_qflex.studies.run_folder import IncompleteRunError, RunFolder
from sb3_qflex.zoo.compare import failure, one_thread_environment

_CHILD = Path(__file__).with_name("child.py")


class Execution:
    """
    A training process, started by the construction.

    It is in a session of its own: Ctrl-C is for the runner alone, since RL Zoo takes it for the regular end.

    :param run: the run
    :param runner: what else to record, e.g. how many runs share the machine
    """

    def __init__(self, run: RunFolder, runner: dict[str, Any]):
        self.run = run
        self._command = run.begin()
        self._made_with = {**provenance(), "runner": runner}
        self._began = time.perf_counter()
        with run.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_CHILD), str(os.getpid()), *self._command],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=one_thread_environment(),
                start_new_session=True,
            )

    def over(self) -> bool:
        """:return: whether the process has ended"""
        return self._process.poll() is not None

    def conclude(self) -> str:
        """
        Wait for the end and record the run.

        :return: what went wrong, or an empty text
        """
        self._process.wait()
        if self._process.returncode:
            return failure(self._command, self._process.returncode, self.run.log)
        try:
            self.run.finish(self._command, self._began, self._made_with)
        except IncompleteRunError as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """Kill the process: an unfinished run leaves nothing that would be used."""
        self._process.kill()
        self._process.wait()
