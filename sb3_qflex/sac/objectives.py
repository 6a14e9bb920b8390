"""The objectives of a gradient step of SAC, as pure functions of networks and a batch; each trains one network."""

import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples
from stable_baselines3.sac.policies import Actor

from sb3_qflex.common import losses
from sb3_qflex.common.type_aliases import Bonus


def min_q(critic: ContinuousCritic, observations: PyTorchObs, actions: th.Tensor, bonus: Bonus | None) -> th.Tensor:
    """
    min_i Q_i(s, a), with the bonus where there is one.

    :param critic: The critics.
    :param observations: s.
    :param actions: a, shape (B, |A|).
    :param bonus: What is added to min_i Q_i(s, a), if anything.
    :return: Shape (B,).
    """
    value = losses.smallest(q_values(critic, observations, actions))
    return value if bonus is None else value + bonus(observations, actions)


def q_values(critic: ContinuousCritic, observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
    """
    Q_i(s, a), shape (n_critics, B).

    :param critic: The critics.
    :param observations: s.
    :param actions: a, shape (B, |A|).
    """
    return th.cat(critic(observations, actions), dim=1).t()


@th.no_grad()
def bellman_target(
    actor: Actor,
    critic_target: ContinuousCritic,
    batch: ReplayBufferSamples,
    gamma: float,
    ent_coef: th.Tensor | None,
    bonus: Bonus | None = None,
) -> th.Tensor:
    """
    y = r + gamma (1 - d) [min_i Q'_i(s', a') - alpha log pi(a'|s')] with a' ~ pi(s').

    :param actor: pi.
    :param critic_target: Q'.
    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    :param ent_coef: alpha; None without an entropy term.
    :param bonus: Added to min_i Q'_i(s', a').
    :return: Shape (B,), a constant.
    """
    next_actions, log_prob = actor.action_log_prob(batch.next_observations)
    next_value = min_q(critic_target, batch.next_observations, next_actions, bonus)
    if ent_coef is not None:
        next_value = next_value - ent_coef * log_prob
    return losses.batch_target(batch, gamma, next_value.unsqueeze(0))


def critic_objective(critic: ContinuousCritic, batch: ReplayBufferSamples, target: th.Tensor) -> th.Tensor:
    """
    Half the sum over critics of the batch mean of (Q_i(s, a) - y)^2.

    :param critic: Q.
    :param batch: Transitions.
    :param target: y, shape (B,).
    """
    return 0.5 * losses.critic_loss(q_values(critic, batch.observations, batch.actions), target)


def actor_objective(
    critic: ContinuousCritic,
    observations: PyTorchObs,
    actions: th.Tensor,
    log_prob: th.Tensor,
    ent_coef: th.Tensor | None,
    bonus: Bonus | None = None,
) -> th.Tensor:
    """
    Batch mean of alpha log pi(a|s) - min_i Q_i(s, a).

    :param critic: Q.
    :param observations: s.
    :param actions: a ~ pi(s), reparameterised, shape (B, |A|).
    :param log_prob: log pi(a|s), shape (B,).
    :param ent_coef: alpha; None without an entropy term.
    :param bonus: Added to min_i Q_i(s, a).
    """
    return losses.source_loss(min_q(critic, observations, actions, bonus), ent_coef, log_prob)
