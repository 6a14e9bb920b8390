"""Runs of a study as tasks of a Ray cluster whose machines share the folder of the runs."""

from typing import Any

try:
    import ray
    from ray.exceptions import RayError
except ImportError as error:  # pragma: no cover
    raise ImportError("--ray needs Ray: pip install 'sb3-qflex[ray]'") from error

from sb3_qflex.studies.execution import Execution
from sb3_qflex.studies.run_folder import RunFolder


def cluster_cores() -> int:
    """
    Join the cluster that the environment names (``RAY_ADDRESS``), or start one on this machine.

    :return: its cores
    """
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class RayExecution(Execution):
    """
    The same as a task of one core, submitted by the construction; Ray ends it with this process.

    :param run: the run
    :param runner: what else to record
    """

    def __init__(self, run: RunFolder, runner: dict[str, Any]):
        self.run = run
        self._outcome = ray.remote(num_cpus=1, max_retries=0)(_execute).remote(run, {**runner, "queue": "ray"})

    def over(self) -> bool:
        finished, _ = ray.wait([self._outcome], timeout=0)
        return bool(finished)

    def conclude(self) -> str:
        try:
            return ray.get(self._outcome)
        except RayError as error:
            return f"{self.run.path}: {error}"

    def stop(self) -> None:
        """Kill the task, and the training process with it."""
        ray.cancel(self._outcome, force=True)


def _execute(run: RunFolder, runner: dict[str, Any]) -> str:
    return Execution(run, runner).conclude()
