"""
This machine's peak in float32 matrix products, measured between the turns of what it is compared with.

The fastest product by any route counts: torch's default, oneDNN's own, or NumPy's.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import torch as th

from sb3_qflex.speed.timing import Task

#: Edge of a cube large enough for the peak, and the shape of a batch in the hidden layers.
_EDGES = (1024, 256)


def gemm_tasks() -> list[Task]:
    """Matrix products of the two sizes by each route, to be timed with what they are compared with."""
    return [Task(f"{_name(edge)}{route}", run) for edge in _EDGES for route, run in _products(edge).items()]


def _products(edge: int) -> dict[str, Callable[[], object]]:
    a, b, out = th.randn(edge, edge), th.randn(edge, edge), th.empty(edge, edge)
    x, y, z = a.numpy(), b.numpy(), out.numpy()
    routes: dict[str, Callable[[], object]] = {
        "": lambda: th.mm(a, b, out=out),
        ", NumPy": lambda: np.dot(x, y, out=z),
    }
    with suppress(AttributeError):
        onednn = th.ops.mkldnn._linear_pointwise
        routes[", oneDNN"] = lambda: onednn(a, b, None, "none", [], "")
    return routes


def _name(edge: int) -> str:
    return f"matrix product {edge}"


def peak(seconds: Mapping[str, np.ndarray]) -> np.ndarray:
    """
    :param seconds: Result of ``interleave``, with :func:`gemm_tasks` among its tasks.
    :return: FLOP per second of the fastest of the products, shape (rounds,).
    """
    rates = [
        2.0 * edge**3 / taken
        for edge in _EDGES
        for name, taken in seconds.items()
        if name == _name(edge) or name.startswith(f"{_name(edge)},")
    ]
    return np.max(rates, axis=0)


def share(flop: float, seconds: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """
    :param flop: Useful work of a task.
    :param seconds: As for :func:`peak`.
    :param name: Of the task.
    :return: Share of the peak that it reaches, shape (rounds,).
    """
    return flop / seconds[name] / peak(seconds)
