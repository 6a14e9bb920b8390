"""One run as a process that dies with its runner."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sb3_qflex.common.machine import describe_machine, describe_versions
from sb3_qflex.studies.run_folder import IncompleteRunError, RunFolder
from sb3_qflex.zoo.compare import failure, one_thread_environment

_CHILD = Path(__file__).with_name("child.py")
_CODE = Path(__file__).parents[1]


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
        self._made_with = {
            "versions": describe_versions(),
            "git": _git_revision(),
            "machine": describe_machine(threads=1),
            "runner": runner,
        }
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
        if code := self._process.wait():
            return failure(self._command, code, self.run.log)
        try:
            self.run.finish(self._command, self._began, self._made_with)
        except IncompleteRunError as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """Kill the process: an unfinished run leaves nothing that would be used."""
        self._process.kill()
        self._process.wait()


def _git_revision() -> dict[str, Any] | None:
    """The code's revision and whether tracked files differ from it ("dirty"); None where the code is in no checkout."""
    if shutil.which("git") is None or not (_CODE.parent / ".git").exists():
        return None

    def git(*words: str) -> str:
        answer = subprocess.run(["git", "-C", _CODE.parent, *words], capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", _CODE.name, "hyperparams")
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except subprocess.CalledProcessError:
        return None
