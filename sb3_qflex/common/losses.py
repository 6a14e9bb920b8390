"""Targets, paths and losses as pure functions on tensors, in the order of an update; B is the batch size."""

import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch.nn import functional as F


def smallest(q_values: th.Tensor) -> th.Tensor:
    """
    Minimum over critics that takes the first critic at ties and sends the gradient to that one alone.

    :param q_values: Shape (n_critics, B).
    :return: Shape (B,).
    """
    return q_values.gather(0, q_values.argmin(dim=0, keepdim=True)).squeeze(0)


def bellman_target(
    rewards: th.Tensor,
    dones: th.Tensor,
    discounts: th.Tensor | float,
    next_q_values: th.Tensor,
    next_entropy: th.Tensor | None = None,
) -> th.Tensor:
    """
    y = r + gamma (1 - d) min_i Q_i(s', a'), a constant.

    :param rewards: Shape (B,); the n-step sum for n-step replay.
    :param dones: 1 on true termination, 0 otherwise (time limits bootstrap), shape (B,).
    :param discounts: gamma, or gamma^n of each sample, shape (B,).
    :param next_q_values: Q_i(s', a') of the joint pass, shape (n_critics, B).
    :param next_entropy: What is added to that minimum, such as -alpha log pi0(a'|s'), shape (B,); None for nothing.
    :return: Shape (B,), detached.
    """
    next_value = smallest(next_q_values)
    if next_entropy is not None:
        next_value = next_value + next_entropy
    return (rewards + discounts * (1.0 - dones) * next_value).detach()


def discounts_of(batch: ReplayBufferSamples, gamma: float) -> th.Tensor | float:
    """
    gamma^n of each sample, shape (B,), or gamma where the replay has one-step samples.

    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    """
    return gamma if batch.discounts is None else batch.discounts.flatten()


def batch_target(
    batch: ReplayBufferSamples,
    gamma: float,
    next_q_values: th.Tensor,
    next_entropy: th.Tensor | None = None,
    reward_scale: float = 1.0,
) -> th.Tensor:
    """
    :func:`bellman_target` of a batch of the replay.

    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    :param next_q_values: See there.
    :param next_entropy: See there.
    :param reward_scale: Factor of the rewards.
    :return: Shape (B,), detached.
    """
    rewards, dones = reward_scale * batch.rewards.flatten(), batch.dones.flatten()
    return bellman_target(rewards, dones, discounts_of(batch, gamma), next_q_values, next_entropy)


def critic_loss(q_values: th.Tensor, target: th.Tensor) -> th.Tensor:
    """
    Sum over critics of the batch mean of (Q_i - y)^2, without a factor 1/2 (step 1).

    :param q_values: Q_i(s, a), shape (n_critics, B).
    :param target: y, shape (B,).
    """
    return (q_values - target).square().mean(dim=1).sum()


def source_loss(min_q: th.Tensor, ent_coef: th.Tensor | None = None, log_prob: th.Tensor | None = None) -> th.Tensor:
    """
    Batch mean of alpha log pi0(a(0)|s) - min_i Q_i(s, a(0)) (step 2).

    :param min_q: min_i Q_i(s, a(0)) of the reparameterised sample, shape (B,).
    :param ent_coef: alpha, a scalar tensor; None without an entropy term.
    :param log_prob: log pi0(a(0)|s), shape (B,); given together with ``ent_coef``.
    """
    loss = -min_q
    if ent_coef is not None:
        assert log_prob is not None, "an entropy term needs the log-probabilities"
        loss = loss + ent_coef * log_prob
    return loss.mean()


def temperature_loss(log_ent_coef: th.Tensor, log_prob: th.Tensor, target_entropy: float) -> th.Tensor:
    """
    Loss of a learned alpha, as in SB3's SAC: -mean(log alpha (log pi0 + target entropy)).

    :param log_ent_coef: log alpha, shape (1,).
    :param log_prob: log pi0(a(0)|s), shape (B,), taken as a constant.
    :param target_entropy: Usually -|A|.
    """
    return -(log_ent_coef * (log_prob.detach() + target_entropy)).mean()


def straight_path(start: th.Tensor, end: th.Tensor, t: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    Point and velocity of the straight path between two actions (conditional flow matching).

    :param start: a(0), shape (B, |A|).
    :param end: a(1), shape (B, |A|).
    :param t: Flow times in [0, 1], shape (B, 1).
    :return: x_t = (1 - t) a(0) + t a(1), and its velocity a(1) - a(0); both (B, |A|).
    """
    return th.lerp(start, end, t), end - start


def flow_matching_loss(velocity: th.Tensor, path_velocity: th.Tensor) -> th.Tensor:
    """
    Mean over batch and coordinates of (v(t, s', x_t) - (a(1) - a(0)))^2 (step 4).

    :param velocity: v(t, s', x_t), shape (B, |A|).
    :param path_velocity: a(1) - a(0), shape (B, |A|), a constant.
    """
    return F.mse_loss(velocity, path_velocity)
