"""
Determinants and quadratic forms of many covariances that share their factor, with gradients in closed form.

With C_b = A diag(x_b) A^T + diag(y_b) and u = C^-1 g,

    d log det C = tr(C^-1 dC),    d(g^T C^-1 g) = 2 u^T dg - u^T dC u,

so that one matrix G_b, a sum of C_b^-1 and u_b u_b^T, has all gradients:

    dx_b = diag(A^T G_b A),    dy_b = diag(G_b),    dA = 2 sum_b G_b A diag(x_b).

C and G are linear in x and symmetric: their entries below the diagonal are one product, over j, of x_bj with a_ij a_kj
(a Khatri-Rao product of A with itself), and so are dx and dA; no (B, d, n) is made. Only for fewer rows than d is that
the smaller array, and A diag(x_b) and G_b A are made.

C is held in panels of few columns, which bounds the memory of those products, and in which it is factorised: LAPACK
takes matrices one by one, and only the blocks on the diagonal are left to it.
:class:`sb3_qflex.lattice.gaussian.LatticeGaussian` has the readable definition.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch as th
from torch.autograd.function import once_differentiable

from sb3_qflex.common.fast.products import linear

#: Columns of a panel: below 20 the triangular solves of LAPACK stay on one thread, which is faster for so small ones.
_WIDTH = 16


class Factors(NamedTuple):
    """
    C = L L^T.

    :param lower: L, shape (B, d, d); what is above its diagonal is not to be used.
    :param inverses: Of the blocks on its diagonal, one a panel, each (B, w, w).
    """

    lower: th.Tensor
    inverses: list[th.Tensor]


def _panels(size: int) -> Iterator[tuple[int, int]]:
    """First column of each panel, and that behind its last one; its rows go from the first column to the end."""
    return ((first, min(first + _WIDTH, size)) for first in range(0, size, _WIDTH))


def _products(factor: th.Tensor, first: int, last: int) -> th.Tensor:
    """a_ij a_kj for rows i and columns k of a panel, shape (rows columns, n)."""
    return (factor[first:, None] * factor[None, first:last]).flatten(0, 1)


def _covariance_panels(factor: th.Tensor, scales: th.Tensor) -> Iterator[th.Tensor]:
    """A diag(x_b) A^T, each of its panels (B, rows of the panel, columns of the panel)."""
    rows, size = len(scales), len(factor)
    if rows < size:
        scaled = (factor * scales.unsqueeze(1)).flatten(0, 1)
        whole = linear(scaled, factor).view(rows, size, size)
        yield from (whole[:, first:, first:last].contiguous() for first, last in _panels(size))
    else:
        for first, last in _panels(size):
            yield linear(scales, _products(factor, first, last)).view(rows, size - first, last - first)


def _chained(gradient: th.Tensor, factor: th.Tensor, scales: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    Gradients by A and x.

    :param gradient: G, shape (B, d, d), symmetric.
    :param factor: A, shape (d, n).
    :param scales: x, shape (B, n).
    """
    rows, size = len(scales), len(factor)
    if rows < size:
        product = linear(gradient.flatten(0, 1), factor.t()).view(rows, size, -1)
        by_scales = (product * factor).sum(dim=1)
        return product.mul_(scales.unsqueeze(1)).sum(dim=0).mul_(2.0), by_scales
    by_factor, by_scales = th.zeros_like(factor), th.zeros_like(scales)
    for first, last in _panels(size):
        panel = gradient[:, first:, first:last].clone(memory_format=th.contiguous_format)
        # Those below the diagonal stand for those above it too.
        panel[:, last - first :] *= 2.0
        flat = panel.flatten(1)
        by_scales += linear(flat, _products(factor, first, last).t())
        by_products = linear(flat.t(), scales.t()).view(size - first, last - first, -1)
        by_factor[first:] += (by_products * factor[None, first:last]).sum(dim=1)
        by_factor[first:last] += (by_products * factor[first:, None]).sum(dim=0)
    return by_factor, by_scales


def factorise(factor: th.Tensor, scales: th.Tensor, diagonal: th.Tensor) -> Factors:
    """
    Cholesky factors of A diag(x_b) A^T + diag(y_b), panel by panel.

    :param factor: A, shape (d, n).
    :param scales: x, shape (B, n).
    :param diagonal: y, shape (B, d).
    :raises torch.linalg.LinAlgError: Where one is not positive definite in this precision, or not finite.
    """
    rows, size = diagonal.shape
    lower = diagonal.new_empty(rows, size, size)
    identity = th.eye(_WIDTH, dtype=lower.dtype, device=lower.device)
    inverses, failures = [], []
    for (first, last), panel in zip(_panels(size), _covariance_panels(factor, scales), strict=True):
        width = last - first
        panel[:, :width].diagonal(dim1=1, dim2=2).add_(diagonal[:, first:last])
        if first > 0:
            panel.baddbmm_(lower[:, first:, :first], lower[:, first:last, :first].mT, alpha=-1.0)
        block, failure = th.linalg.cholesky_ex(panel[:, :width])
        inverse = th.linalg.solve_triangular(block, identity[:width, :width].expand_as(block), upper=False)
        lower[:, first:last, first:last] = block
        lower[:, last:, first:last] = panel[:, width:] @ inverse.mT
        inverses.append(inverse)
        failures.append(failure)
    if th.stack(failures).any():
        raise th.linalg.LinAlgError("A covariance is not positive definite.")
    return Factors(lower, inverses)


def inverse(factors: Factors) -> th.Tensor:
    """
    C^-1, shape (B, d, d), from its last panel to its first: with Z = L_21 L_11^-1 and X = C_22^-1 known,

        C^-1 = [[L_11^-T L_11^-1 + Z^T X Z, -Z^T X], [-X Z, X]].

    :param factors: Of C.
    """
    lower = factors.lower
    inverted = th.empty_like(lower)
    for (first, last), block in reversed(list(zip(_panels(lower.shape[1]), factors.inverses, strict=True))):
        z = lower[:, last:, first:last] @ block
        below = (inverted[:, last:, last:] @ z).neg_()
        inverted[:, last:, first:last] = below
        inverted[:, first:last, last:] = below.mT
        inverted[:, first:last, first:last] = th.baddbmm(block.mT @ block, z.mT, below, alpha=-1.0)
    return inverted


class LogDetAndQuadratic(th.autograd.Function):
    """log det C_b and g_b^T C_b^-1 g_b."""

    @staticmethod
    def forward(
        ctx: Any, factor: th.Tensor, scales: th.Tensor, diagonal: th.Tensor, vectors: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """
        :param ctx: What backward needs.
        :param factor: A, shape (d, n).
        :param scales: x, not negative, shape (B, n).
        :param diagonal: y, positive, shape (B, d).
        :param vectors: g, shape (B, d).
        :return: Two of shape (B,).
        :raises torch.linalg.LinAlgError: As :func:`factorise`.
        """
        lower, inverses = factorise(factor, scales, diagonal)
        whitened = th.linalg.solve_triangular(lower, vectors.unsqueeze(2), upper=False).squeeze(2)
        ctx.save_for_backward(factor, scales, whitened, lower, *inverses)
        return 2.0 * lower.diagonal(dim1=1, dim2=2).log().sum(dim=1), whitened.square().sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_log_det: th.Tensor, by_quadratic: th.Tensor) -> tuple[th.Tensor, ...]:
        factor, scales, whitened, lower, *inverses = ctx.saved_tensors
        inverted = inverse(Factors(lower, inverses))
        solution = th.linalg.solve_triangular(lower.mT, whitened.unsqueeze(2), upper=True).squeeze(2)
        weighted = by_quadratic.unsqueeze(1) * solution
        # G.
        inverted.mul_(by_log_det[:, None, None]).baddbmm_(solution.unsqueeze(2), weighted.unsqueeze(1), alpha=-1.0)
        by_factor, by_scales = _chained(inverted, factor, scales)
        return by_factor, by_scales, inverted.diagonal(dim1=1, dim2=2).clone(), 2.0 * weighted
