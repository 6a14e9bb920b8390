"""Q-guided flow target: gradient ascent on the smallest critic from a sample of the source policy (paper, step 3)."""

from typing import NamedTuple

import torch as th

from sb3_qflex.common.type_aliases import QGradient

RMS_FLOOR = 1e-4
RMS_DECAY = 0.99


class Guidance(NamedTuple):
    """
    Result of the ascent.

    :param target_actions: a(1), shape (B, |A|), not clamped.
    :param first_gradient: g at a(0), shape (B, |A|).
    :param step_norms: ||M g|| of every step, shape (N, B).
    """

    target_actions: th.Tensor
    first_gradient: th.Tensor
    step_norms: th.Tensor


def truncated_step_size(step_norm: th.Tensor, step_size: float, action_dim: int) -> th.Tensor:
    """
    sigma = min(eta, 2 sqrt(|A|) / ||M g||): one step never exceeds the diameter of the box; eta where g = 0.

    :param step_norm: ||M g||, shape (B, 1).
    :param step_size: eta.
    :param action_dim: |A|.
    :return: sigma, shape (B, 1).
    """
    return (2.0 * action_dim**0.5 / step_norm).clamp(max=step_size)


def ascend(
    gradient: QGradient,
    source_actions: th.Tensor,
    n_steps: int,
    step_size: float,
    preconditioner: th.Tensor | None = None,
) -> Guidance:
    """
    N times a <- a + sigma M g with the truncated step (paper, step 3).

    :param gradient: g(a) for the states at hand.
    :param source_actions: a(0), shape (B, |A|), a constant.
    :param n_steps: N, at least 1.
    :param step_size: eta, positive.
    :param preconditioner: Diagonal of M, shape (|A|,), positive; None for the identity.
    :return: a(1) and what the logs need.
    """
    batch_size, action_dim = source_actions.shape
    step_norms = source_actions.new_empty(n_steps, batch_size, 1)
    actions = source_actions
    for step in range(n_steps):
        g = gradient(actions)
        if step == 0:
            first_gradient = g
        direction = g if preconditioner is None else g * preconditioner
        th.linalg.vector_norm(direction, dim=1, keepdim=True, out=step_norms[step])
        sigma = truncated_step_size(step_norms[step], step_size, action_dim)
        actions = th.addcmul(actions, sigma, direction)
    return Guidance(actions, first_gradient, step_norms.squeeze(-1))


def rms_preconditioner(mean_square_gradient: th.Tensor) -> th.Tensor:
    """
    diag(u^(-1/2)) scaled to mean 1; the identity while u is zero (before the first update).

    Entries of u are floored at 1e-4 of their mean: an actuator without influence on Q would otherwise take the
    whole step for itself.

    :param mean_square_gradient: u, running average of the batch mean of (dQ/da)^2, shape (|A|,), >= 0.
    :return: Diagonal of M, shape (|A|,).
    """
    mean = mean_square_gradient.mean()
    inverse_root = th.maximum(mean_square_gradient, RMS_FLOOR * mean).rsqrt()
    return th.where(mean > 0, inverse_root / inverse_root.mean(), 1.0)
