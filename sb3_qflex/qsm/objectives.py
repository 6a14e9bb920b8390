"""The two objectives of a gradient step of QSM: batch -> target -> path sample -> loss, each training one network."""

import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_qflex.common import losses
from sb3_qflex.common.diffusion import noised
from sb3_qflex.common.policies import train_mode
from sb3_qflex.qsm.policies import QSMPolicy
from sb3_qflex.qsm.score_matching import denoising_loss, score_loss


def critic_objective(policy: QSMPolicy, batch: ReplayBufferSamples, gamma: float) -> tuple[th.Tensor, th.Tensor]:
    """
    Sum over critics of the mean of (Q_i - y)^2, y = r + gamma (1 - d) min_i Q'_i(s', a'), a' as it is executed.

    :param policy: The policy.
    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    :return: The loss, and the mean of Q over batch and critics.
    """
    next_actions = policy.explore(batch.next_observations)
    with th.no_grad():
        target_critics = policy.critic_target
        next_q_values = target_critics.q_values(target_critics.encode(batch.next_observations), next_actions)
    discounts = gamma if batch.discounts is None else batch.discounts.flatten()
    target = losses.bellman_target(batch.rewards.flatten(), batch.dones.flatten(), discounts, next_q_values)
    with train_mode(policy.critic):
        q_values = policy.critic.q_values(policy.critic.encode(batch.observations), batch.actions)
    return losses.critic_loss(q_values, target), q_values.detach().mean()


def actor_objective(policy: QSMPolicy, batch: ReplayBufferSamples, q_grad_scale: float) -> th.Tensor:
    """
    The noise predictor at noised replayed actions against -M_q g, or the score at replayed actions against g.

    :param policy: The policy.
    :param batch: Transitions.
    :param q_grad_scale: M_q, of "ddpm" alone.
    """
    obs, actions = batch.observations, batch.actions
    t = th.randint(policy.diffusion_steps, (len(actions),), device=actions.device)
    langevin = policy.variant == "langevin"
    x = actions if langevin else noised(actions, t, th.randn_like(actions), policy.schedule)
    gradient = policy.q_gradient(obs, x)
    with train_mode(policy.actor):
        prediction = policy.actor(obs, x, t)
    return score_loss(prediction, gradient) if langevin else denoising_loss(prediction, gradient, q_grad_scale)
