"""SIGTERM and SIGINT as a wish to stop at the next good moment."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

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
