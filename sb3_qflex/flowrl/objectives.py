"""The objectives of a gradient step: batch -> target -> path sample -> loss, each training one network."""

from dataclasses import dataclass

import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_qflex.common import losses
from sb3_qflex.common.fast.linear import constant
from sb3_qflex.common.policies import train_mode
from sb3_qflex.flowrl import flow
from sb3_qflex.flowrl.policies import FlowRLPolicy


@dataclass(frozen=True)
class Matching:
    """
    How the flow-matching term enters the actor's loss.

    :param weight: lambda.
    :param clip: Smallest and largest weight of a sample.
    :param weighting: "sample" or "batch", see :func:`sb3_qflex.flowrl.flow.actor_loss`.
    :param space: What of an action of the replay the flow is to reach: the "action" in [-1, 1], its "latent" before
        the tanh, or the action in the units of the "box".
    """

    weight: float
    clip: tuple[float, float]
    weighting: str
    space: str


@dataclass(frozen=True)
class ActorObjective:
    """
    The actor's loss and what it is made of.

    :param loss: A scalar, with a gradient to the velocity field alone.
    :param policy_q: Batch mean of min Q(s, pi(s)).
    :param weight: Batch mean of w.
    :param error: Batch mean of the flow-matching error.
    """

    loss: th.Tensor
    policy_q: th.Tensor
    weight: th.Tensor
    error: th.Tensor


def critic_objective(policy: FlowRLPolicy, batch: ReplayBufferSamples, gamma: float) -> th.Tensor:
    """
    Step 1: Q towards y = r + gamma (1 - d) min Qbar(s', pi(s')).

    :param policy: The policy.
    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    """
    with th.no_grad():
        next_q = policy.critic_target.q_values(batch.next_observations, policy.sample(batch.next_observations))
    target = losses.batch_target(batch, gamma, next_q)
    with train_mode(policy.critic):
        q_values = policy.critic.q_values(batch.observations, batch.actions)
    return losses.critic_loss(q_values, target)


def buffer_critic_objective(
    policy: FlowRLPolicy, batch: ReplayBufferSamples, gamma: float
) -> tuple[th.Tensor, th.Tensor]:
    """
    Step 2: Q^buf towards y = r + gamma (1 - d) V(s').

    :param policy: The policy.
    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    :return: The loss, and min Q^buf(s, a) of this forward, (B,), a constant.
    """
    with th.no_grad():
        next_value = policy.value(batch.next_observations)
    target = losses.batch_target(batch, gamma, next_value.unsqueeze(0))
    with train_mode(policy.buffer_critic):
        q_values = policy.buffer_critic.q_values(batch.observations, batch.actions)
    return losses.critic_loss(q_values, target), losses.smallest(q_values.detach())


def value_objective(policy: FlowRLPolicy, batch: ReplayBufferSamples, expectile: float) -> th.Tensor:
    """
    Step 3: V towards the expectile of min Qbar^buf(s, a) over the replay's actions.

    :param policy: The policy.
    :param batch: Transitions.
    :param expectile: tau_e.
    """
    with th.no_grad():
        buffer_q = policy.buffer_critic_target.min_q(batch.observations, batch.actions)
    with train_mode(policy.value):
        value = policy.value(batch.observations)
    return flow.expectile_loss(buffer_q - value, expectile)


def actor_objective(
    policy: FlowRLPolicy, batch: ReplayBufferSamples, buffer_q: th.Tensor, matching: Matching
) -> ActorObjective:
    """
    Step 4: the flow towards larger Q, tied to actions of the replay that are better than its own.

    :param policy: The policy.
    :param batch: Transitions.
    :param buffer_q: min Q^buf(s, a), shape (B,).
    :param matching: How it is tied.
    """
    start, t = flow.clipped_normal(batch.actions), th.rand_like(batch.actions[:, :1])
    x_t, path_velocity = losses.straight_path(start, _end(policy, batch.actions, matching.space), t)
    with train_mode(policy.actor):
        features = policy.actor.encode(batch.observations)
        actions = policy.actor.act(features, flow.clipped_normal(start), policy.flow_steps)
        velocity = policy.actor.velocity(features, x_t, t)
    with constant(policy.critic):
        policy_q = policy.critic.min_q(batch.observations, actions)
    weight = flow.excess_weight(buffer_q, policy_q, matching.weight, matching.clip)
    error = flow.matching_error(velocity, path_velocity)
    loss = flow.actor_loss(policy_q, weight, error, matching.weighting)
    return ActorObjective(loss, policy_q.mean(), weight.mean(), error.mean())


def _end(policy: FlowRLPolicy, actions: th.Tensor, space: str) -> th.Tensor:
    """Where the path from a_0 ends for actions in [-1, 1], (B, |A|)."""
    if space == "latent":
        return flow.to_latent(actions)
    return policy.in_box(actions) if space == "box" else actions
