"""
This machine's peak in matrix products of a number type, measured between the turns of what it is compared with.

The fastest product by any route counts: torch's default, oneDNN's own, or NumPy's.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch as th

from sb3_qflex.speed.timing import Task

#: Edge of a cube large enough for the peak, and the shape of a batch in the hidden layers.
_EDGES = (1024, 256)
_NUMPY = ", NumPy"


def gemm_tasks(dtype: str = "float32", device: str = "cpu") -> list[Task]:
    """
    Matrix products of the two sizes by each route, to be timed with what they are compared with, which should follow.

    :param dtype: "float32" or "bfloat16".
    :param device: Where.
    """
    routes = {edge: _products(edge, dtype, device) for edge in _EDGES}
    found = [(route, edge) for edge in _EDGES for route in routes[edge]]
    # NumPy's first: its threads go on spinning for tens of milliseconds, in which the next tasks are slower.
    found.sort(key=lambda pair: pair[0] != _NUMPY)
    return [Task(f"{_name(edge, dtype)}{route}", routes[edge][route]) for route, edge in found]


def _products(edge: int, dtype: str, device: str) -> dict[str, Callable[[], object]]:
    a, b, out = th.randn(3, edge, edge, device=device).to(getattr(th, dtype))
    routes: dict[str, Callable[[], object]] = {"": lambda: th.mm(a, b, out=out)}
    if device != "cpu":
        return routes
    if hasattr(th.ops.mkldnn, "_linear_pointwise"):
        onednn = th.ops.mkldnn._linear_pointwise
        routes[", oneDNN"] = lambda: onednn(a, b, None, "none", [], "")
    if dtype == "float32":  # NumPy has no bfloat16
        x, y, z = a.numpy(), b.numpy(), out.numpy()
        routes[_NUMPY] = lambda: np.dot(x, y, out=z)
    return routes


def _name(edge: int, dtype: str) -> str:
    return f"matrix product {edge}" if dtype == "float32" else f"{dtype} product {edge}"


def peak(seconds: Mapping[str, np.ndarray], dtype: str = "float32") -> np.ndarray:
    """
    :param seconds: Result of ``interleave``, with :func:`gemm_tasks` of the type among its tasks.
    :param dtype: Number type.
    :return: FLOP per second of the fastest of the products, shape (rounds,).
    """
    rates = [
        2.0 * edge**3 / taken
        for edge in _EDGES
        for name, taken in seconds.items()
        if name == _name(edge, dtype) or name.startswith(f"{_name(edge, dtype)},")
    ]
    return np.max(rates, axis=0)


def share(flop: float, seconds: Mapping[str, np.ndarray], name: str, dtype: str = "float32") -> np.ndarray:
    """
    :param flop: Useful work of a task.
    :param seconds: As for :func:`peak`.
    :param name: Of the task.
    :param dtype: Number type of its products.
    :return: Share of the peak that it reaches, shape (rounds,).
    """
    return flop / seconds[name] / peak(seconds, dtype)
