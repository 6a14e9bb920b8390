"""Q-score matching as pure functions on tensors: two losses, and a Langevin sampler.

Psenka, Escontrela, Abbeel, Ma: Learning a Diffusion Model Policy from Rewards via Q-Score Matching, ICML 2024,
arXiv 2312.11752.
"""

from collections.abc import Callable

import torch as th
from torch.nn import functional as F


def mean_of_critics(q_values: th.Tensor) -> th.Tensor:
    """
    :param q_values: Shape (n_critics, B).
    :return: Their mean over the critics, (B,).
    """
    return q_values.mean(dim=0)


def denoising_loss(noise: th.Tensor, q_gradient: th.Tensor, scale: float) -> th.Tensor:
    """
    Mean over batch and coordinates of (eps(s, x_t, t) + M_q g)^2: the noise predictor points against the gradient.

    The code's form, with the same g at all noise levels; the paper's theory has no factor either.

    :param noise: eps(s, x_t, t), shape (B, |A|).
    :param q_gradient: g, the mean gradient of the critics at x_t, shape (B, |A|).
    :param scale: M_q.
    """
    return F.mse_loss(noise, -scale * q_gradient)


def score_loss(score: th.Tensor, q_gradient: th.Tensor) -> th.Tensor:
    """
    Mean over batch and coordinates of (phi(s, a) - g)^2.

    :param score: phi(s, a) at the replayed action, shape (B, |A|).
    :param q_gradient: g, the gradient of the smaller critic there, shape (B, |A|).
    """
    return F.mse_loss(score, q_gradient)


def langevin(score: Callable[[th.Tensor], th.Tensor], noise: th.Tensor, bound: float = 1.0) -> th.Tensor:
    """
    x ~ N(0, I); x <- clip(x + delta/2 phi(x) + sqrt(delta) z_k) with delta = 1 - k/n for k = 0 ... n - 1. No gradients.

    The last step still injects noise of standard deviation sqrt(1/n).

    :param score: phi(s, .) at the states at hand; what it gives may be overwritten at its next call.
    :param noise: Standard normal, shape (n + 1, R, |A|): x first, then z_0 ... z_(n-1).
    :param bound: Where each coordinate is clipped.
    :return: Shape (R, |A|).
    """
    n_steps = len(noise) - 1
    x = noise[0].clone()
    for k in range(n_steps):
        delta = 1.0 - k / n_steps
        x.add_(score(x), alpha=0.5 * delta).add_(noise[k + 1], alpha=delta**0.5).clamp_(-bound, bound)
    return x
