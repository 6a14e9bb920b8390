"""Threads of the asking process that wait for their next operation on the cores that the workers need."""

from collections.abc import Callable
from ctypes import c_int
from typing import Any

from threadpoolctl import ThreadpoolController

# omp_pause_soft of OpenMP 5.0: threads may end, and settings stay, such as how many there are to be.
_SOFT = 1


class IdleThreads:
    """
    OpenMP's threads in this process, such as torch's.

    Behind a parallel operation they look out for the next one, with GNU's library for some milliseconds, in which they
    keep their cores busy. A worker that is woken then has to wait until the system takes such a core from them.
    """

    def __init__(self) -> None:
        controllers = ThreadpoolController().select(user_api="openmp").lib_controllers
        libraries: list[Any] = [controller.dynlib for controller in controllers]
        # Older libraries have no such function.
        found = [getattr(library, "omp_pause_resource_all", None) for library in libraries]
        self._pauses: list[Callable[[c_int], int]] = [pause for pause in found if pause is not None]

    def dismiss(self) -> None:
        """End them; the next parallel operation of the calling thread makes new ones, in some ten microseconds each."""
        for pause in self._pauses:
            pause(c_int(_SOFT))
