"""
Which way matrix products of float32 take on this processor: torch's default, or oneDNN's own; those of bfloat16.

Both ways are full float32 (never the reduced precision that ``torch.set_float32_matmul_precision`` allows). On current
AMD cores with AVX-512 oneDNN's take half the time; elsewhere the default may be the faster one. So the first product
that is large enough times both for a few milliseconds, once for the process. The environment variable
``SB3_QFLEX_PRODUCTS`` ("default" or "onednn") or :func:`set_route` decide instead. Products of bfloat16 take oneDNN's,
where those are faster than any of float32. What was found goes along with a training that is resumed, since it decides
how results round.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch as th

from sb3_qflex.common.validation import check_choice

logger = logging.getLogger(__name__)

ROUTES = ("default", "onednn")
VARIABLE = "SB3_QFLEX_PRODUCTS"
#: Multiplications and additions below which the default serves in any case: a call of oneDNN's costs about 10 µs more.
SMALLEST = 4e6
#: oneDNN's has to be that much faster, so that the choice is the same in the next process.
_MARGIN = 1.2

#: From x, (B, in), to (B, out).
Product = Callable[[th.Tensor], th.Tensor]

_route: str | None = None
_is_bfloat16_fast: bool | None = None


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


def known() -> dict[str, Any]:
    """What this process has found, for :func:`restore`; None for what nothing has asked for yet."""
    return {"float32": _route, "bfloat16": _is_bfloat16_fast}


def restore(found: Mapping[str, Any]) -> None:
    """
    Go on with what another process found.

    :param found: Result of :func:`known`.
    """
    global _is_bfloat16_fast
    set_route(found["float32"])
    _is_bfloat16_fast = found["bfloat16"]
    if _is_bfloat16_fast and not _can_multiply_bfloat16():
        logger.warning("This processor or build of torch has no oneDNN products of bfloat16: float32 serves instead.")
        _is_bfloat16_fast = False


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
    :param weight: W, shape (out, in), of any strides; x is converted to its type.
    :param bias: Shape (out,).
    :param relu: Whether to apply ReLU.
    :param out: Memory of the result, (B, out), which may be used.
    :return: Shape (B, out), of the type of the weight.
    """
    x = x.to(weight.dtype)
    if _is_for_onednn(weight, len(x)) and _is_whole(x):
        return th.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    z = th.mm(x, weight.t(), out=out) if bias is None else th.addmm(bias, x, weight.t(), out=out)
    return z.relu_() if relu else z


def bound(weight: th.Tensor, bias: th.Tensor | None, n_rows: int, relu: bool = False) -> Product:
    """
    :func:`linear` for many inputs of one size: the route is chosen and the memory taken once.

    :param weight: W, shape (out, in).
    :param bias: Shape (out,).
    :param n_rows: B; where it varies, about what it is.
    :param relu: Whether to apply ReLU.
    :return: From x, (B, in), to (B, out), which the next call overwrites.
    """
    if _is_for_onednn(weight, n_rows):
        onednn, activation = th.ops.mkldnn._linear_pointwise.default, "relu" if relu else "none"
        return lambda x: onednn(x.to(weight.dtype), weight, bias, activation, [], "")
    return _bound_default(weight, bias, n_rows, relu)


def _bound_default(weight: th.Tensor, bias: th.Tensor | None, n_rows: int, relu: bool) -> Product:
    transposed, memory = weight.t(), weight.new_empty(n_rows, weight.shape[0])

    def product(x: th.Tensor) -> th.Tensor:
        x, out = x.to(weight.dtype), memory if len(x) == n_rows else None
        z = th.mm(x, transposed, out=out) if bias is None else th.addmm(bias, x, transposed, out=out)
        return z.relu_() if relu else z

    return product


def bound_sum(base: th.Tensor, weight: th.Tensor, out: th.Tensor) -> Product:
    """
    base + x W^T for many x of one size. No gradients.

    :param base: Shape (B, out), read at each call.
    :param weight: W, shape (out, in); the product is of its type, the sum of the base's.
    :param out: Memory of the result, (B, out), which may be used; it may be that of the base.
    :return: From x, (B, in), to (B, out), which the next call overwrites.
    """
    transposed = weight.t()
    if weight.dtype != base.dtype:
        product = bound(weight, None, len(base))
        return lambda x: th.add(base, product(x), out=out)
    if _is_for_onednn(weight, len(base)):
        onednn = th.ops.mkldnn._linear_pointwise.binary
        return lambda x: onednn(x, base, weight, None, "add")
    return lambda x: th.addmm(base, x, transposed, out=out)


def _is_for_onednn(weight: th.Tensor, n_rows: int) -> bool:
    if weight.device.type != "cpu":
        return False
    if weight.dtype == th.bfloat16:
        return _bfloat16_is_faster() and _is_whole(weight)
    if weight.dtype != th.float32 or 2.0 * n_rows * weight.numel() < SMALLEST:
        return False
    return _is_whole(weight) and route() == "onednn"


def _is_whole(matrix: th.Tensor) -> bool:
    """Neither rows nor columns of a larger one: oneDNN's products of those take twenty times as long."""
    # Strides and not matrix.t(), which takes as long as a small product.
    return matrix.is_contiguous() or matrix.stride() == (1, matrix.shape[0])


def _has_onednn() -> bool:
    return bool(th.backends.mkldnn.is_available() and hasattr(th.ops.mkldnn, "_linear_pointwise"))


def _fastest() -> str:
    """Both routes in turns, at the size of a hidden layer in an update."""
    if not _has_onednn():
        return "default"
    x, weight, bias = _hidden_layer(th.float32)
    default, onednn = _seconds(
        lambda: th.addmm(bias, x, weight.t()),
        lambda: _onednn(x, weight, bias),
    )
    chosen = "onednn" if default > _MARGIN * onednn else "default"
    logger.info("Products of float32: %s (default %.0f, oneDNN %.0f GFLOP/s).", chosen, *map(_rate, (default, onednn)))
    return chosen


def has_fast_bfloat16(device: th.device) -> bool:
    """
    Whether products of bfloat16 are faster there than those of float32: measured once for the process on a CPU.

    :param device: The device.
    """
    if device.type == "cuda":
        # Ampere is the first generation with units for it; earlier ones emulate.
        return th.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _bfloat16_is_faster()


def _bfloat16_is_faster() -> bool:
    global _is_bfloat16_fast
    if _is_bfloat16_fast is None:
        _is_bfloat16_fast = _can_multiply_bfloat16() and _measure_bfloat16()
    return _is_bfloat16_fast


def _can_multiply_bfloat16() -> bool:
    return _has_onednn() and bool(th.ops.mkldnn._is_mkldnn_bf16_supported())


def _measure_bfloat16() -> bool:
    x, weight, bias = _hidden_layer(th.float32)
    default, onednn, rounded = _seconds(
        lambda: th.addmm(bias, x, weight.t()),
        *(partial(_onednn, *_hidden_layer(dtype)) for dtype in (th.float32, th.bfloat16)),
    )
    exact = min(default, onednn)
    logger.info("Products of bfloat16: %.0f GFLOP/s, of float32 %.0f.", *map(_rate, (rounded, exact)))
    return exact > _MARGIN * rounded


def _onednn(x: th.Tensor, weight: th.Tensor, bias: th.Tensor) -> th.Tensor:
    return th.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


_EDGE = 256


def _hidden_layer(dtype: th.dtype) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Input, weight and bias."""
    # A generator of its own: training draws from the global one.
    x, weight = th.randn(2, _EDGE, _EDGE, generator=th.Generator().manual_seed(0), dtype=th.float32).to(dtype)
    return x, weight, x[0].clone()


@th.no_grad()
def _seconds(*functions: Callable[[], object]) -> list[float]:
    """What each takes at best, in turns."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(8):
        for function, taken in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    # The first ones find the kernels.
    return [min(taken[1:]) for taken in seconds]


def _rate(seconds: float) -> float:
    """GFLOP/s of the product that was measured."""
    return 2e-9 * _EDGE**3 / seconds
