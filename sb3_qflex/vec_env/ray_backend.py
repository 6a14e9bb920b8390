"""A worker as a Ray actor, on any machine of a cluster; arrays travel through Ray's object store.

Ray is an optional dependency (``pip install sb3-qflex[ray]``). Ray finds a running cluster by itself
(``RAY_ADDRESS``, or one started on this machine); otherwise it starts one here.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sb3_qflex.vec_env.errors import WorkerDiedError
from sb3_qflex.vec_env.layout import Batch, BatchLayout
from sb3_qflex.vec_env.worker import EnvGroup

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError
except ImportError as error:  # pragma: no cover
    raise ImportError("backend='ray' needs Ray: pip install 'sb3-qflex[ray]'") from error

logger = logging.getLogger(__name__)

# Scheduling an actor waits for free resources, for ever if there are none.
_START_SECONDS = 300.0
_DEFAULT_OPTIONS: dict[str, Any] = {"num_cpus": 1, "scheduling_strategy": "SPREAD"}


class EnvActor:
    """The Ray side of a worker."""

    def __init__(self) -> None:
        self._group = EnvGroup()

    def handle(self, command: str, *args: Any) -> tuple[bool, Any, list[np.ndarray]]:
        """As ``EnvGroup.handle``, and the arrays that a step or reset wrote."""
        if command == "attach":
            (layout,) = args
            batch = layout.batch(bytearray(layout.nbytes))
            args = (batch, layout.info_keys)
        ok, value = self._group.handle(command, *args)
        arrays = self._group.batch.results() if command in ("step", "reset") else []
        return ok, value, arrays


class RayWorker:
    """
    A :class:`~sb3_qflex.vec_env.backend.Worker`.

    :param env_fns: a pickled list of functions, each returning an environment
    :param index: of the worker, for its name
    :param rows: of its environments
    :param options: of the actor, such as ``num_cpus`` or ``resources``
    """

    _batch: Batch

    def __init__(self, env_fns: bytes, index: int, rows: slice, options: dict[str, Any]):
        self.rows = rows
        self.pending = False
        self.name = f"Ray worker {index} (environments {rows.start} to {rows.stop - 1})"
        self._actor: Any = ray.remote(EnvActor).options(**options).remote()
        # None once the actor has answered, which shows that it was placed on a machine.
        self._timeout: float | None = _START_SECONDS
        self.request("build", env_fns)

    def attach(self, batch: Batch, layout: BatchLayout) -> None:
        """Request that results be sent, to be received in the batch of all environments."""
        self._batch = batch.rows(self.rows)
        n_envs = self.rows.stop - self.rows.start
        self.request("attach", replace(layout, n_envs=n_envs))

    def request(self, command: str, *args: Any) -> None:
        if command == "step" and args[0] is None:
            args = (self._batch.actions.copy(), *args[1:])
        self._answer = self._actor.handle.remote(command, *args)
        self.pending = True

    def discard(self) -> None:
        # Each request has its own answer, which no other can be mistaken for.
        self.pending = False

    def reply(self) -> Any:
        try:
            ok, value, arrays = ray.get(self._answer, timeout=self._timeout)
        except GetTimeoutError as error:
            raise WorkerDiedError(
                f"{self.name} was not started within {_START_SECONDS:.0f} s. Free in the cluster: "
                f"{ray.available_resources()}. Use fewer workers, or less for each through ray_options."
            ) from error
        except RayTaskError:
            # The actor lives: an argument or answer could not be pickled. Ray names the original type and traceback.
            self.pending = False
            raise
        except RayError as error:
            raise WorkerDiedError(f"{self.name} is gone: {error}") from error
        self._timeout = None
        self.pending = False
        if not ok:
            raise value.restore(self.name, self.rows.start)
        for mine, theirs in zip(self._batch.results() if arrays else [], arrays, strict=True):
            mine[...] = theirs
        return value

    def begin_close(self) -> None:
        # After ray.shutdown() there is nothing left to close, and asking would start a new cluster.
        if ray.is_initialized():
            self._answer = self._actor.handle.remote("close")

    def stop(self, seconds: float) -> None:
        if not ray.is_initialized():
            return
        if seconds > 0:
            ray.wait([self._answer], timeout=seconds)
        ray.kill(self._actor)


class RayBackend:
    """
    Workers on the machines of a Ray cluster.

    :param options: of the actors; by default one core each, spread over the machines
    """

    def __init__(self, options: dict[str, Any] | None = None):
        if not ray.is_initialized():
            ray.init(include_dashboard=False)
        self._options = _DEFAULT_OPTIONS | (options or {})
        self.cores = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def start(self, env_fns: list[bytes], rows: list[slice]) -> Iterator[RayWorker]:
        cores = self._options["num_cpus"] * len(rows)
        if cores > self.cores:
            logger.warning("Ray workers need %s cores, the cluster has %s: some wait until it grows", cores, self.cores)
        for index, (pickled, worker_rows) in enumerate(zip(env_fns, rows, strict=True)):
            yield RayWorker(pickled, index, worker_rows, self._options)

    def share(self, workers: Sequence[RayWorker], layout: BatchLayout) -> Batch:
        batch = layout.batch(bytearray(layout.nbytes))
        for worker in workers:
            worker.attach(batch, layout)
        return batch
