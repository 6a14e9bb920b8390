"""A worker in a process of its own: arrays in shared memory, everything else over a pipe.

A step costs one small message each way and worker. Nothing here or in ``worker`` imports torch.
"""

import mmap
import multiprocessing as mp
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.reduction import recv_handle, send_handle
from types import FrameType
from typing import Any

import cloudpickle

from sb3_qflex.vec_env.backend import available_cores
from sb3_qflex.vec_env.errors import ErrorReport, WorkerDiedError
from sb3_qflex.vec_env.layout import Batch, BatchLayout
from sb3_qflex.vec_env.worker import EnvGroup, Reply

_KILL_SECONDS = 5.0
_PROCESS_NAME = "vec-env-worker-"


class ProcessWorker:
    """
    A :class:`~sb3_qflex.vec_env.backend.Worker`.

    :param context: of the start method
    :param env_fns: a pickled list of functions, each returning an environment
    :param index: of the worker, for its name
    :param rows: of its environments
    """

    def __init__(self, context: BaseContext, env_fns: bytes, index: int, rows: slice):
        self.rows = rows
        self.pending = False
        # Answers carry the number of their request: one that nobody waited for is told from the next.
        self._number = 0
        self._connection, remote = context.Pipe()
        # A worker forked later must not keep this end open, or the worker here would never see it close.
        util.register_after_fork(self._connection, Connection.close)
        self._process = context.Process(  # type: ignore[attr-defined]
            target=run, args=(remote,), name=f"{_PROCESS_NAME}{index}", daemon=True
        )
        try:
            self._process.start()
        finally:
            remote.close()
        self.pid = self._process.pid
        self.name = f"worker {index} (pid {self.pid}, environments {rows.start} to {rows.stop - 1})"
        self.request("build", env_fns)

    def attach(self, layout: BatchLayout, descriptor: int) -> None:
        """Request that results be written to the shared block of this descriptor."""
        self.request("attach", layout, self.rows)
        try:
            send_handle(self._connection, descriptor, self.pid)
        except OSError as error:
            raise self._died() from error

    def request(self, command: str, *args: Any) -> None:
        self.discard()
        message = _message(self._number + 1, command, args)
        with uninterrupted():
            try:
                self._connection.send_bytes(message)
            except OSError as error:
                raise self._died() from error
            self._number += 1
            self.pending = True

    def reply(self) -> Any:
        ok, value = self._receive()
        if ok:
            return value
        raise value.restore(self.name, self.rows.start)

    def discard(self) -> None:
        if self.pending:
            self._receive()

    def _receive(self) -> Reply:
        while True:
            # Waiting may be interrupted. Reading may not: half an answer would be left, or one that counts as pending.
            self._wait()
            with uninterrupted():
                try:
                    received = self._connection.recv_bytes()
                except (EOFError, OSError) as error:
                    raise self._died() from error
                number, reply = pickle.loads(received)
                self.pending = number != self._number
            if number == self._number:
                return reply

    def _wait(self) -> None:
        """Until there is something to read, or the other end is closed."""
        try:
            self._connection.poll(None)
        except OSError as error:
            raise self._died() from error

    def _died(self) -> WorkerDiedError:
        self._process.join(_KILL_SECONDS)
        code = self._process.exitcode
        if code is None:
            reason = "closed its connection"
        elif code < 0:
            reason = f"was killed by {signal.Signals(-code).name}"
        else:
            reason = f"exited with code {code}"
        hint = ""
        if code == -signal.SIGKILL:
            hint = " The system kills so when memory runs out: try fewer environments."
        elif code == 1:
            hint = (
                " Its output above says why. A script that uses start_method 'spawn' or 'forkserver' must "
                "keep its statements under `if __name__ == '__main__':`."
            )
        return WorkerDiedError(f"{self.name} {reason}.{hint}")

    def begin_close(self) -> None:
        # Not request(): a step under way ends first, but nobody reads its answer, however large.
        with suppress(OSError):
            self._connection.send_bytes(_message(0, "close", ()))
        self._connection.close()

    def stop(self, seconds: float) -> None:
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_KILL_SECONDS)
        self._connection.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside the ``with``, the handler of SIGINT, which raises KeyboardInterrupt anywhere, is put off to its end."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *args: caught.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[0])


def _kill_left() -> None:
    for process in mp.active_children():
        if process.name.startswith(_PROCESS_NAME):
            process.kill()


def run(connection: Connection) -> None:
    """Serve a ``ProcessWorker``'s requests until told to close or until the asking process is gone."""
    # Ctrl-C, and SIGTERM of a job scheduler, reach the whole group of processes; the asking one, which may have a
    # checkpoint to take first, decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Nothing is sent while environments are built: what there is to read is the end of the connection, or "close".
    group = EnvGroup(is_abandoned=connection.poll)
    # Either error: the other end is closed, as its process ended or dropped the VecEnv.
    with suppress(EOFError, OSError):
        while True:
            number, command, args = pickle.loads(connection.recv_bytes())
            if command == "close":
                break
            connection.send_bytes(_answer(group, connection, number, command, args))
    ok, error = group.handle("close")
    if not ok:
        sys.stderr.write(error.trace)


def _message(number: int, command: str, args: tuple) -> bytes:
    # Arguments on their own: what the worker cannot unpickle is then an error of this one command.
    return pickle.dumps((number, command, cloudpickle.dumps(args)))


def _answer(group: EnvGroup, connection: Connection, number: int, command: str, pickled: bytes) -> bytes:
    try:
        args = pickle.loads(pickled)
        if command == "attach":
            layout, rows = args
            args = (_map_batch(connection, layout).rows(rows), layout.info_keys)
        return cloudpickle.dumps((number, group.handle(command, *args)))
    # An argument or answer that cannot be pickled.
    except Exception as error:
        return cloudpickle.dumps((number, (False, ErrorReport.of(error, group.current))))


def _map_batch(connection: Connection, layout: BatchLayout) -> Batch:
    descriptor = recv_handle(connection)
    try:
        return layout.batch(mmap.mmap(descriptor, layout.nbytes))
    finally:
        os.close(descriptor)


def _create_block(nbytes: int) -> int:
    """
    Descriptor of zeroed memory without a name, so that nothing can be left behind: the kernel frees it with its last
    user, however that one ends; a named segment would outlive a killed process.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sb3_qflex_vec_env")
    else:
        # Without memfd_create (macOS), a file already removed from its folder serves the same.
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


class ProcessBackend:
    """
    Workers on this machine.

    :param start_method: one of ``multiprocessing.get_all_start_methods()``; by default as SB3, "forkserver" where
        available, else "spawn"
    """

    def __init__(self, start_method: str | None = None):
        default = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
        self._context = mp.get_context(start_method or default)
        self.cores = available_cores()

    def start(self, env_fns: list[bytes], rows: list[slice]) -> Iterator[ProcessWorker]:
        # Before multiprocessing waits at exit for its daemons: workers take no notice of its SIGTERM.
        util.Finalize(None, _kill_left, exitpriority=0)
        for index, (pickled, worker_rows) in enumerate(zip(env_fns, rows, strict=True)):
            yield ProcessWorker(self._context, pickled, index, worker_rows)

    def share(self, workers: Sequence[ProcessWorker], layout: BatchLayout) -> Batch:
        descriptor = _create_block(layout.nbytes)
        try:
            for worker in workers:
                worker.attach(layout, descriptor)
            return layout.batch(mmap.mmap(descriptor, layout.nbytes))
        finally:
            os.close(descriptor)
