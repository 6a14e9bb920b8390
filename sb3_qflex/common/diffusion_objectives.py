"""The objective that the critics of diffusion policies have in common."""

import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_qflex.common import losses
from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.common.policies import train_mode


def critic_objective(
    policy: DiffusionPolicyBase,
    batch: ReplayBufferSamples,
    next_actions: th.Tensor,
    gamma: float,
    reward_scale: float = 1.0,
) -> tuple[th.Tensor, th.Tensor]:
    """
    Sum over critics of the mean of (Q_i(s, a) - y)^2, y = c r + gamma (1 - d) min_i Q'_i(s', a'); no entropy term.

    :param policy: The policy.
    :param batch: Transitions.
    :param next_actions: a' of the policy as it would be executed, shape (B, |A|).
    :param gamma: Discount of one-step samples.
    :param reward_scale: c.
    :return: The critics' loss, and the mean of Q over batch and critics.
    """
    target_critic = policy.critic_target
    with th.no_grad():
        next_q = target_critic.q_values(target_critic.encode(batch.next_observations), next_actions)
    target = losses.batch_target(batch, gamma, next_q, reward_scale=reward_scale)
    with train_mode(policy.critic):
        q_values = policy.critic.q_values(policy.critic.encode(batch.observations), batch.actions)
    return losses.critic_loss(q_values, target), q_values.detach().mean()
