"""The mathematics of MaxInfoRL (arXiv 2412.12098) as pure functions on tensors; B is the batch size."""

import torch as th

#: Variance below which heads count as equal.
VARIANCE_FLOOR = 1e-6


def information_gain(predictions: th.Tensor, weights: th.Tensor, correction: int) -> th.Tensor:
    """
    I(s, a): how much the heads disagree, sum over coordinates of w_i log(1 + Var_i / 1e-6).

    :param predictions: What the heads say of normalised targets, shape (heads, B, coordinates).
    :param weights: w, shape (coordinates,), see :func:`coordinate_weights`.
    :param correction: 1 for the unbiased variance, 0 for the biased one.
    :return: Shape (B,), at least 0.
    """
    return th.log1p(variance(predictions, correction) / VARIANCE_FLOOR) @ weights


def variance(values: th.Tensor, correction: int = 0) -> th.Tensor:
    """
    Variance over the first dimension; ``torch.var`` takes twenty times as long there on a CPU.

    :param values: Shape (n, ...).
    :param correction: What n is lessened by.
    """
    return (values - values.mean(dim=0)).square().sum(dim=0) / (len(values) - correction)


def coordinate_weights(n_states: int, reward_weight: float | None) -> th.Tensor:
    """
    Weights of the coordinates of a prediction, with a sum of 1: the reward's, and the rest in equal parts.

    :param n_states: Coordinates that are features of the state; the reward follows them.
    :param reward_weight: The reward's share; None where no reward is predicted.
    :return: Shape (n_states + 1,), or (n_states,) without a reward.
    """
    if reward_weight is None:
        return th.full((n_states,), 1.0 / n_states)
    return th.cat([th.full((n_states,), (1.0 - reward_weight) / n_states), th.tensor([float(reward_weight)])])


def ensemble_loss(predictions: th.Tensor, targets: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """
    Weighted mean over coordinates of the squared error, averaged over heads and batch.

    :param predictions: Shape (heads, B, coordinates).
    :param targets: Normalised, shape (B, coordinates).
    :param weights: Shape (coordinates,), see :func:`coordinate_weights`.
    """
    return (predictions - targets).square().mean(dim=(0, 1)) @ weights


def info_coef_loss(log_info_coef: th.Tensor, gain: th.Tensor, slow_gain: th.Tensor) -> th.Tensor:
    """
    Loss of lambda, log lambda mean(I(s, a) - I(s, a')): it rises where the slow policy gains more than the policy.

    :param log_info_coef: log lambda, shape (1,).
    :param gain: Normalised I at the policy's actions, shape (B,), taken as a constant.
    :param slow_gain: The same at those of its slow copy.
    """
    return (log_info_coef * (gain - slow_gain).detach().mean()).sum()
