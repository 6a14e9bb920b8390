"""
Which way matrix products of float32 take on this processor: torch's default, or oneDNN's own.

Both are full float32 (never the reduced precision that ``torch.set_float32_matmul_precision`` allows). On current AMD
cores with AVX-512 oneDNN's take half the time; elsewhere the default may be the faster one. So the first product that
is large enough times both for a few milliseconds, once for the process. The environment variable
``SB3_QFLEX_PRODUCTS`` ("default" or "onednn") or :func:`set_route` decide instead, and a training that is resumed keeps
the route that it had: the two round differently.
"""

import logging
import os
import time

import torch as th

from sb3_qflex.common.validation import check_choice

logger = logging.getLogger(__name__)

ROUTES = ("default", "onednn")
VARIABLE = "SB3_QFLEX_PRODUCTS"
#: Multiplications and additions below which the default serves in any case: a call of oneDNN's costs about 10 µs more.
SMALLEST = 8e6
#: oneDNN's has to be that much faster, so that the choice is the same in the next process.
_MARGIN = 1.2

_route: str | None = None


def set_route(name: str | None) -> None:
    """
    Choose the route of this process.

    :param name: "default" or "onednn"; None to measure at the next product
    :raises ValueError: for anything else
    """
    global _route
    if name is not None:
        check_choice("route of products", name, ROUTES)
        if name == "onednn" and not _has_onednn():
            logger.warning("This build of torch has no oneDNN products: the default serves, and rounds differently.")
            name = "default"
    _route = name


def route() -> str:
    """The route of this process; measured if it is not known yet."""
    if _route is None:
        set_route(os.environ.get(VARIABLE) or _fastest())
    assert _route is not None
    return _route


def known_route() -> str | None:
    """The route of this process, None where nothing has asked for it yet."""
    return _route


def linear(
    x: th.Tensor,
    weight: th.Tensor,
    bias: th.Tensor | None = None,
    relu: bool = False,
    out: th.Tensor | None = None,
) -> th.Tensor:
    """
    x W^T + bias, and ReLU of that. No gradients.

    :param x: Shape (B, in).
    :param weight: W, shape (out, in), of any strides.
    :param bias: Shape (out,).
    :param relu: Whether to apply ReLU.
    :param out: Memory of the result, (B, out), which may be used.
    :return: Shape (B, out).
    """
    if _takes_onednn(x, weight):
        return th.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    z = th.mm(x, weight.t(), out=out) if bias is None else th.addmm(bias, x, weight.t(), out=out)
    return z.relu_() if relu else z


def add_linear(base: th.Tensor, x: th.Tensor, weight: th.Tensor, out: th.Tensor) -> th.Tensor:
    """
    base + x W^T. No gradients.

    :param base: Shape (B, out); ``out`` may be the same memory.
    :param x: Shape (B, in).
    :param weight: W, shape (out, in).
    :param out: Memory of the result, (B, out).
    """
    if _takes_onednn(x, weight):
        return th.add(base, th.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], ""), out=out)
    return th.addmm(base, x, weight.t(), out=out)


def _takes_onednn(x: th.Tensor, weight: th.Tensor) -> bool:
    return (
        2.0 * x.shape[0] * weight.numel() >= SMALLEST
        and x.dtype == weight.dtype == th.float32
        and x.device.type == "cpu"
        # oneDNN's products of parts of a matrix take twenty times as long.
        and _is_whole(x)
        and _is_whole(weight)
        and route() == "onednn"
    )


def _is_whole(matrix: th.Tensor) -> bool:
    return matrix.is_contiguous() or matrix.t().is_contiguous()


def _has_onednn() -> bool:
    return bool(th.backends.mkldnn.is_available() and hasattr(th.ops.mkldnn, "_linear_pointwise"))


@th.no_grad()
def _fastest() -> str:
    """Both routes in turns, at the size of a hidden layer in an update."""
    if not _has_onednn():
        return "default"
    # A generator of its own: training draws from the global one.
    x, weight = th.randn(2, 256, 256, generator=th.Generator().manual_seed(0), dtype=th.float32)
    bias = x[0].clone()
    seconds: dict[str, list[float]] = {name: [] for name in ROUTES}
    for _ in range(8):
        for name in ROUTES:
            start = time.perf_counter()
            if name == "onednn":
                th.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
            else:
                th.addmm(bias, x, weight.t())
            seconds[name].append(time.perf_counter() - start)
    # The first ones find the kernels.
    default, onednn = (min(seconds[name][1:]) for name in ROUTES)
    chosen = "onednn" if default > _MARGIN * onednn else "default"
    rates = [2e-9 * 256**3 / one for one in (default, onednn)]
    logger.info("Products of float32: %s (default %.0f, oneDNN %.0f GFLOP/s).", chosen, *rates)
    return chosen
