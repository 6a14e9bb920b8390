r"""
FlowRL's mathematics as pure functions on tensors (Lv et al., arXiv 2506.12811); B is the batch size.

============================  =====================================================================================
symbol                        meaning
============================  =====================================================================================
:math:`a_0`                   start of the flow: a standard normal sample clipped to [-1, 1], (B, \|A\|)
:math:`v(s, a, t)`            velocity field, (B, \|A\|)
:math:`Q`                     value of the policy, :math:`Q^{buf}` and V that of the best behaviour in the replay
:math:`\tau_e`                expectile of V
:math:`w`                     weight of the flow-matching term, (B,), a constant
============================  =====================================================================================
"""

import torch as th

from sb3_qflex.common.type_aliases import Velocity

#: Actions nearer to an end of the box have no latent that a network could be asked for.
LATENT_BOUND = 0.999


def clipped_normal(like: th.Tensor) -> th.Tensor:
    """
    a_0: standard normal samples, clipped to [-1, 1].

    :param like: A tensor of the shape, type and device.
    """
    return th.randn_like(like).clamp_(-1.0, 1.0)


def integrate(velocity: Velocity, start: th.Tensor, n_steps: int) -> th.Tensor:
    """
    Midpoint steps of da/dt = v(s, a, t) from t = 0 to 1; with one, a_1 = a_0 + v(s, a_0 + v(s, a_0, 0)/2, 1/2) (paper).

    :param velocity: v(t, a) at the states at hand.
    :param start: a_0, shape (B, |A|).
    :param n_steps: Number of steps, at least 1.
    :return: a_1, shape (B, |A|), before the tanh.
    """
    dt = 1.0 / n_steps
    actions = start
    for k in range(n_steps):
        middle = actions + 0.5 * dt * velocity(k * dt, actions)
        actions = actions + dt * velocity((k + 0.5) * dt, middle)
    return actions


def to_latent(actions: th.Tensor) -> th.Tensor:
    """
    What the tanh makes these actions of, with those at the ends of the box moved to +-0.999.

    :param actions: In [-1, 1], any shape.
    """
    return actions.clamp(-LATENT_BOUND, LATENT_BOUND).atanh()


def matching_error(velocity: th.Tensor, path_velocity: th.Tensor) -> th.Tensor:
    """
    Each sample's mean over actuators of (v(s, x_t, t) - (a - a_0))^2.

    :param velocity: v(s, x_t, t), shape (B, |A|).
    :param path_velocity: a - a_0, shape (B, |A|).
    :return: Shape (B,).
    """
    return (velocity - path_velocity).square().mean(dim=1)


def excess_weight(buffer_q: th.Tensor, policy_q: th.Tensor, scale: float, clip: tuple[float, float]) -> th.Tensor:
    """
    w = clip(lambda exp(e - mean e)) with e = relu(min Q^buf(s, a) - min Q(s, pi(s))), how much better the replay's
    action is than the policy's.

    :param buffer_q: min Q^buf(s, a), shape (B,).
    :param policy_q: min Q(s, pi(s)), shape (B,).
    :param scale: lambda.
    :param clip: Smallest and largest weight.
    :return: Shape (B,), a constant.
    """
    excess = (buffer_q - policy_q).detach().relu()
    return (scale * (excess - excess.mean()).exp()).clamp(*clip)


def expectile_loss(difference: th.Tensor, expectile: float) -> th.Tensor:
    """
    Mean of |tau_e - 1[e < 0]| e^2.

    :param difference: e = min Q^buf(s, a) - V(s), shape (B,).
    :param expectile: tau_e, in (0, 1].
    """
    weight = th.where(difference < 0.0, 1.0 - expectile, expectile)
    return (weight * difference.square()).mean()


def actor_loss(policy_q: th.Tensor, weight: th.Tensor, error: th.Tensor, weighting: str) -> th.Tensor:
    """
    Mean of -min Q(s, pi(s)) + w CFM.

    :param policy_q: min Q(s, pi(s)), shape (B,).
    :param weight: w, shape (B,).
    :param error: CFM of each sample, shape (B,).
    :param weighting: "sample" for each sample's own w and CFM (the paper), "batch" for the product of their means (the
        authors' code, which takes the mean of CFM first).
    """
    matching = (weight * error).mean() if weighting == "sample" else weight.mean() * error.mean()
    return matching - policy_q.mean()
