"""The three objectives of a gradient step: batch -> target -> path sample -> loss, each training one network.

The network that an objective trains is in train mode for its own forward pass, everything else in eval mode.
"""

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples

from sb3_qflex.common import losses
from sb3_qflex.common.each_array import each_array
from sb3_qflex.common.policies import train_mode
from sb3_qflex.common.type_aliases import Bonus
from sb3_qflex.qflex.policies import QFlexPolicy


def critic_objective(
    policy: QFlexPolicy,
    batch: ReplayBufferSamples,
    gamma: float,
    bootstrap: str,
    ent_coef: th.Tensor | None,
    bonus: Bonus | None = None,
) -> th.Tensor:
    """
    Step 1: one joint pass of (s, a) and (s', a') through each critic, so that both halves share batch statistics.

    :param policy: The policy.
    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    :param bootstrap: Whether a' is a "source" sample, or that sample carried by the "flow".
    :param ent_coef: alpha; None without an entropy term.
    :param bonus: Added to min_i Q_i(s', a').
    :return: The critics' loss.
    """
    beside_q = None
    with th.no_grad():
        if ent_coef is None:
            next_actions = policy.source(batch.next_observations)
        else:
            next_actions, log_prob = policy.actor.action_log_prob(batch.next_observations)
            beside_q = -ent_coef * log_prob
        if bootstrap == "flow":
            next_actions = policy.flow(batch.next_observations, next_actions).clamp(-1.0, 1.0)
        if bonus is not None:
            joined = bonus(batch.next_observations, next_actions)
            beside_q = joined if beside_q is None else beside_q + joined
    with train_mode(policy.critic):
        both = each_array(lambda *states: th.cat(states), batch.observations, batch.next_observations)
        features = policy.critic.encode(both)
        joint = policy.critic.q_values(features, th.cat([batch.actions, next_actions]))
    q_values, next_q_values = joint.chunk(2, dim=1)
    return losses.critic_loss(q_values, losses.batch_target(batch, gamma, next_q_values, beside_q))


def source_objective(
    policy: QFlexPolicy, observations: PyTorchObs, ent_coef: th.Tensor | None, bonus: Bonus | None = None
) -> tuple[th.Tensor, th.Tensor | None]:
    """
    Step 2: source actions towards a larger minimum of the critics.

    :param policy: The policy.
    :param observations: s.
    :param ent_coef: alpha; None without an entropy term.
    :param bonus: Added to min_i Q_i(s, a(0)).
    :return: The source policy's loss, and the log-probabilities (B,) where there is an entropy term.
    """
    log_prob = None
    with train_mode(policy.actor):
        if ent_coef is None:
            actions = policy.actor(observations)
        else:
            actions, log_prob = policy.actor.action_log_prob(observations)
    value = policy.min_q(observations, actions)
    if bonus is not None:
        value = value + bonus(observations, actions)
    return losses.source_loss(value, ent_coef, log_prob), log_prob


def field_objective(policy: QFlexPolicy, next_observations: PyTorchObs) -> th.Tensor:
    """
    Steps 3 and 4: guide fresh source actions along Q, and match the field to the straight paths there.

    :param policy: The policy; its "rms" preconditioner takes in the first gradient.
    :param next_observations: s'.
    :return: The velocity field's loss.
    """
    source_actions = policy.source(next_observations)
    guidance = policy.ascend(next_observations, source_actions, policy.guidance_dtype)
    policy.update_preconditioner(guidance.first_gradient)
    t = th.rand_like(source_actions[:, :1])
    x_t, path_velocity = losses.straight_path(source_actions, guidance.target_actions, t)
    with train_mode(policy.field):
        velocity = policy.field(next_observations, x_t, t)
    return losses.flow_matching_loss(velocity, path_velocity)
