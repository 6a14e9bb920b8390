r"""
SDAC's objectives: the critics' target, denoising targets weighted by Q, and the entropy that alpha follows.

Beside the symbols of :mod:`sb3_qflex.common.diffusion`:

=====================  ===============  ================================================================
symbol                 in the code      meaning
=====================  ===============  ================================================================
:math:`a_0`            x0               an action of the policy, (B, \|A\|)
:math:`n_m`            noises           M standard normal draws for each state, (B, M, \|A\|)
:math:`w_m`            weights          their weights, (B, M)
:math:`\kappa`         inverse          5 / alpha, inverse temperature of Q, which is of 0.2 r
=====================  ===============  ================================================================
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.common.diffusion import NoiseSchedule, clipped_start, noised
from sb3_qflex.common.policies import train_mode
from sb3_qflex.sdac.policies import SDACPolicy

#: kappa alpha: with rewards scaled by 0.2, the policy's target is proportional to exp(Q / alpha) of unscaled rewards.
INVERSE_TEMPERATURE = 5.0
#: Share of alpha that the entropy takes as the policy's standard deviation, whatever ``noise_scale`` is.
ENTROPY_SCALE = 0.1

#: min_i Q_i of several actions for each state: (B, M, |A|) -> (B, M).
Values = Callable[[th.Tensor], th.Tensor]


class DenoisingGoal(NamedTuple):
    """
    What the noise predictor learns in one update; constants.

    :param observations: s.
    :param x: x_t, shape (B, |A|).
    :param t: Steps, shape (B,).
    :param noise: What it shall say there, shape (B, |A|).
    :param weights: Of each sample, shape (B,); None for 1.
    """

    observations: PyTorchObs
    x: th.Tensor
    t: th.Tensor
    noise: th.Tensor
    weights: th.Tensor | None = None


def reverse_weights(
    values: Values, x: th.Tensor, noises: th.Tensor, t: th.Tensor, schedule: NoiseSchedule, inverse: th.Tensor | float
) -> th.Tensor:
    """
    w = softmax over m of kappa min_i Q_i(s, r_m), where r_m is the clipped action that x_t and n_m tell of.

    :param values: The critics at the states at hand.
    :param x: x_t, shape (B, |A|).
    :param noises: n_m, shape (B, M, |A|).
    :param t: Steps, shape (B,).
    :param schedule: The noise schedule.
    :param inverse: kappa.
    :return: Shape (B, M).
    """
    signal, ratio = (schedule.at(name, t).unsqueeze(1) for name in ("signal_inverse", "noise_ratio"))
    return th.softmax(inverse * values(clipped_start(x.unsqueeze(1), noises, signal, ratio)), dim=1)


def averaged_noise(noises: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """
    sum_m w_m n_m: the one target whose loss has M times the gradient of :func:`reweighted_loss`.

    :param noises: Shape (B, M, |A|).
    :param weights: Shape (B, M).
    :return: Shape (B, |A|).
    """
    return (weights.unsqueeze(1) @ noises).squeeze(1)


def reweighted_loss(eps: th.Tensor, noises: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """
    Mean over batch, M and coordinates of w_m (eps - n_m)^2: the paper's loss, and the reference of what is trained.

    :param eps: eps(s, x_t, t), shape (B, |A|).
    :param noises: Shape (B, M, |A|).
    :param weights: Shape (B, M).
    """
    return (weights.unsqueeze(2) * (eps.unsqueeze(1) - noises).square()).mean()


def effective_samples(weights: th.Tensor) -> th.Tensor:
    """
    Mean of 1 / sum_m w_m^2: how many of the M draws count, 1 to M.

    :param weights: Shape (B, M).
    """
    return (1.0 / weights.square().sum(dim=1)).mean()


@th.no_grad()
def reverse_goal(
    policy: SDACPolicy, observations: PyTorchObs, n_samples: int, alpha: th.Tensor
) -> tuple[DenoisingGoal, th.Tensor]:
    """
    Step 2: from a fresh action of the online policy, x_t and its noise as Q would have it.

    :param policy: The policy, with the critics as they are before their step.
    :param observations: s.
    :param n_samples: M.
    :param alpha: The temperature, a scalar.
    :return: What to learn, and :func:`effective_samples`.
    """
    x0 = policy.explore(observations)
    t = th.randint(policy.diffusion_steps, (len(x0),), device=x0.device)
    x = noised(x0, t, th.randn_like(x0), policy.schedule)
    noises = th.randn(len(x0), n_samples, policy.action_dim, device=x0.device, dtype=x0.dtype)
    weights = reverse_weights(
        lambda actions: policy.values(observations, actions),
        x,
        noises,
        t,
        policy.schedule,
        INVERSE_TEMPERATURE / alpha,
    )
    return DenoisingGoal(observations, x, t, averaged_noise(noises, weights)), effective_samples(weights)


def denoising_objective(policy: SDACPolicy, goal: DenoisingGoal) -> th.Tensor:
    """
    Mean over batch and coordinates of w (eps(s, x_t, t) - noise)^2.

    :param policy: The policy.
    :param goal: What to learn.
    """
    with train_mode(policy.actor):
        squares = (policy.actor(goal.observations, goal.x, goal.t) - goal.noise).square()
    return squares.mean() if goal.weights is None else (goal.weights.unsqueeze(1) * squares).mean()


def noise_entropy(alpha: th.Tensor, action_dim: int) -> th.Tensor:
    """
    H = (|A| / 2) log(2 pi e (0.1 alpha)^2), the entropy of noise alone: it knows nothing of the policy.

    :param alpha: The temperature, a scalar.
    :param action_dim: |A|.
    """
    return action_dim * (0.5 * math.log(2.0 * math.pi * math.e) + (ENTROPY_SCALE * alpha).log())
