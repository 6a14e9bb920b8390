"""What goes wrong in a worker, carried to the process that asked."""

import pickle
import traceback
from contextlib import suppress
from dataclasses import dataclass

import cloudpickle


class WorkerError(RuntimeError):
    """An environment raised something that cannot be carried between processes; the message quotes it."""


class WorkerDiedError(RuntimeError):
    """A worker (process or Ray actor) is gone: killed, crashed, or lost with its machine."""


class NotSavableError(RuntimeError):
    """The state of an environment cannot be written down, or not be given to the one at hand; the message says why."""


@dataclass(frozen=True)
class ErrorReport:
    """
    An exception on its way from a worker.

    :param env_index: index of the environment in use within the worker, None outside any environment
    :param summary: type and message of the exception
    :param trace: the worker's formatted traceback
    :param pickled: the exception itself, None if it cannot be pickled and read back
    """

    env_index: int | None
    summary: str
    trace: str
    pickled: bytes | None

    @classmethod
    def of(cls, error: BaseException, env_index: int | None) -> "ErrorReport":
        """The report of an exception just caught."""
        trace = "".join(traceback.format_exception(error))
        return cls(env_index, f"{type(error).__name__}: {error}", trace, _pickled(error))

    def restore(self, worker: str, first_env: int) -> Exception:
        """
        The exception to raise in the asking process. It keeps its type, as with ``DummyVecEnv``: callers such as
        the Zoo's tuner, which prunes a trial on ``ValueError``, tell failures apart by it.

        :param worker: name of the worker for the message
        :param first_env: index within the ``VecEnv`` of the worker's first environment
        :return: the exception with the worker's traceback as a note
        """
        error: Exception = WorkerError(self.summary)
        if self.pickled is not None:
            # Its class may exist in the worker only; the summary then stands for it.
            with suppress(Exception):
                error = pickle.loads(self.pickled)
        place = worker if self.env_index is None else f"environment {first_env + self.env_index}, in {worker}"
        error.add_note(f"Raised by {place}. Traceback there:\n{self.trace}")
        return error


def _pickled(error: BaseException) -> bytes | None:
    # SystemExit and KeyboardInterrupt of an environment must not end the asking process.
    if not isinstance(error, Exception):
        return None
    try:
        pickled = cloudpickle.dumps(error)
        restored = pickle.loads(pickled)
    except Exception:
        return None
    return pickled if isinstance(restored, Exception) else None
