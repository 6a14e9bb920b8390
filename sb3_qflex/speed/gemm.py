"""This machine's peak in float32 matrix products, measured between the turns of what it is compared with."""

from collections.abc import Mapping

import numpy as np
import torch as th

from sb3_qflex.speed.timing import Task

#: Edge of a cube large enough for the peak, and the shape of a batch in the hidden layers.
_EDGES = (1024, 256)


def gemm_tasks() -> list[Task]:
    """Matrix products of the two sizes, to be timed with what they are compared with."""
    return [_product(edge) for edge in _EDGES]


def _product(edge: int) -> Task:
    a, b, out = th.randn(edge, edge), th.randn(edge, edge), th.empty(edge, edge)
    return Task(_name(edge), lambda: th.mm(a, b, out=out))


def _name(edge: int) -> str:
    return f"matrix product {edge}"


def peak(seconds: Mapping[str, np.ndarray]) -> np.ndarray:
    """
    :param seconds: Result of ``interleave``, with :func:`gemm_tasks` among its tasks.
    :return: FLOP per second of the faster of the two products, shape (rounds,).
    """
    return np.max([2.0 * edge**3 / seconds[_name(edge)] for edge in _EDGES], axis=0)


def share(flop: float, seconds: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """
    :param flop: Useful work of a task.
    :param seconds: As for :func:`peak`.
    :param name: Of the task.
    :return: Share of the peak that it reaches, shape (rounds,).
    """
    return flop / seconds[name] / peak(seconds)
