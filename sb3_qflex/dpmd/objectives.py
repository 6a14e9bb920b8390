"""DPMD's weights: the policy's own actions, weighted by normalised Q (policy mirror descent)."""

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.common.diffusion import noised
from sb3_qflex.sdac.objectives import DenoisingGoal
from sb3_qflex.sdac.policies import SDACPolicy

NORMALISATIONS = ("standard", "reference")
#: Weight of the newest batch in the running mean and standard deviation of Q.
STATISTICS_RATE = 0.001
#: Normalised Q beyond is clipped.
CLIP = 3.0


def mirror_weights(
    q_values: th.Tensor, mean: th.Tensor, std: th.Tensor, alpha: th.Tensor, normalise: str = "standard"
) -> th.Tensor:
    """
    w = exp(clip((q - m) / S, -3, 3) / alpha).

    :param q_values: min_i Q_i(s', a'), shape (B,).
    :param mean: m, its running mean, a scalar.
    :param std: S, its running standard deviation, a scalar.
    :param alpha: The temperature, a scalar.
    :param normalise: "standard", or "reference" for q - m / S as the authors' code has it.
    :return: Shape (B,), positive.
    """
    normalised = (q_values - mean) / std if normalise == "standard" else q_values - mean / std
    return (normalised.clamp(-CLIP, CLIP) / alpha).exp()


def moved_statistics(statistics: th.Tensor, q_values: th.Tensor) -> th.Tensor:
    """
    Running mean and standard deviation of Q with one more batch; unchanged where that is not finite.

    :param statistics: m and S, shape (2,).
    :param q_values: Shape (B,).
    :return: Shape (2,).
    """
    batch = th.stack([q_values.mean(), q_values.std(correction=0)]).to(statistics)
    moved = th.lerp(statistics, batch, STATISTICS_RATE)
    return th.where(th.isfinite(batch).all(), moved, statistics)


@th.no_grad()
def mirror_goal(
    policy: SDACPolicy,
    next_observations: PyTorchObs,
    next_actions: th.Tensor,
    q_values: th.Tensor,
    statistics: th.Tensor,
    normalise: str,
) -> DenoisingGoal:
    """
    Noised actions of the policy, weighted by Q.

    :param policy: The policy.
    :param next_observations: s'.
    :param next_actions: a' as the target has it, shape (B, |A|).
    :param q_values: min_i Q_i(s', a') of the critics after their step, shape (B,).
    :param statistics: m and S, shape (2,).
    :param normalise: See :func:`mirror_weights`.
    :return: What to learn.
    """
    mean, std = statistics.unbind()
    weights = mirror_weights(q_values, mean, std, policy.temperature.alpha(), normalise)
    t = th.randint(policy.diffusion_steps, (len(next_actions),), device=next_actions.device)
    noise = th.randn_like(next_actions)
    return DenoisingGoal(next_observations, noised(next_actions, t, noise, policy.schedule), t, noise, weights)
