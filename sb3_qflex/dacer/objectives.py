"""DACER's losses as pure functions on tensors, and the objectives of an update; B is the batch size.

Wang et al.: Diffusion Actor-Critic with Entropy Regulator, NeurIPS 2024, arXiv 2405.15177. The critics are those of
DSAC-T (arXiv 2310.05858): each says the mean and the standard deviation of the return.
"""

from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples

from sb3_qflex.common.losses import discounts_of, source_loss
from sb3_qflex.common.policies import train_mode
from sb3_qflex.dacer.policies import DACERPolicy

#: Share that the newest batch has in the running averages of the standard deviations.
DEVIATION_RATE = 0.005
#: Added to sigma^2 and sigma^3 in the weights of the critics' loss, and to b^2 before it.
WEIGHT_FLOOR = 0.1
#: Standard deviations at which the sampled return is clipped, and standard normal samples at which it is drawn.
CLIPPED_AT = 3.0


class ReturnTarget(NamedTuple):
    """y, and the sample y_s of the target critic's distribution; both (B,), constants."""

    mean: th.Tensor
    sample: th.Tensor


def return_target(
    rewards: th.Tensor,
    dones: th.Tensor,
    discounts: th.Tensor | float,
    next_means: th.Tensor,
    next_stds: th.Tensor,
    noise: th.Tensor,
) -> ReturnTarget:
    """
    y = r + gamma (1 - d) mu_j and y_s = r + gamma (1 - d) (mu_j + sigma_j z), j the critic with the smaller mean.

    :param rewards: Shape (B,), scaled.
    :param dones: 1 on true termination, 0 otherwise, shape (B,).
    :param discounts: gamma, or gamma^n of each sample, shape (B,).
    :param next_means: Target means at (s', a'), shape (n_critics, B).
    :param next_stds: Target standard deviations there, shape (n_critics, B).
    :param noise: Samples of N(0, 1), shape (n_critics, B); clipped to [-3, 3] here.
    """
    chosen = next_means.argmin(dim=0, keepdim=True)
    mean, std, z = (one.gather(0, chosen).squeeze(0) for one in (next_means, next_stds, noise))
    discounted = discounts * (1.0 - dones)
    sample = mean + std * z.clamp(-CLIPPED_AT, CLIPPED_AT)
    return ReturnTarget((rewards + discounted * mean).detach(), (rewards + discounted * sample).detach())


def critic_loss(means: th.Tensor, stds: th.Tensor, target: ReturnTarget, mean_stds: th.Tensor) -> th.Tensor:
    """
    Sum over critics of -(b^2 + 0.1) mean[mu sg(y - mu)/(sg sigma^2 + 0.1) + sigma sg((mu - y_b)^2 - sigma^2)/(sg
    sigma^3 + 0.1)], y_b = mu + clip(y_s - mu, -3 b, 3 b); sg is the stop of gradients.

    Its value means nothing; its gradient is that of a Gaussian's negative log-likelihood with bounded weights.

    :param means: mu_i(s, a), shape (n_critics, B).
    :param stds: sigma_i(s, a), shape (n_critics, B).
    :param target: y and y_s.
    :param mean_stds: b_i, running average of sigma_i, shape (n_critics,).
    """
    b = mean_stds.detach().unsqueeze(1)
    mu, sigma = means.detach(), stds.detach()
    bound = CLIPPED_AT * b
    deviation = th.maximum(th.minimum(target.sample - mu, bound), -bound)
    of_mean = (target.mean - mu) / (sigma.square() + WEIGHT_FLOOR)
    of_std = (deviation.square() - sigma.square()) / (sigma.pow(3) + WEIGHT_FLOOR)
    weight = b.squeeze(1).square() + WEIGHT_FLOOR
    return -(weight * (means * of_mean + stds * of_std).mean(dim=1)).sum()


def critic_objective(
    policy: DACERPolicy, batch: ReplayBufferSamples, gamma: float, reward_scale: float
) -> tuple[th.Tensor, th.Tensor]:
    """
    Step 1: the critics towards the return of a fresh action of the policy; their running deviations take in the batch.

    :param policy: The policy.
    :param batch: Transitions.
    :param gamma: Discount of one-step samples.
    :param reward_scale: Factor of the rewards.
    :return: The critics' loss, and the mean of Q over batch and critics.
    """
    next_actions = policy.explore(batch.next_observations)
    with th.no_grad():
        slow = policy.critic_target
        next_means, next_stds = slow.returns(slow.encode(batch.next_observations), next_actions)
    rewards, noise = reward_scale * batch.rewards.flatten(), th.randn_like(next_stds)
    target = return_target(rewards, batch.dones.flatten(), discounts_of(batch, gamma), next_means, next_stds, noise)
    with train_mode(policy.critic):
        means, stds = policy.critic.returns(policy.critic.encode(batch.observations), batch.actions)
    policy.critic.update_mean_stds(stds, DEVIATION_RATE)
    return critic_loss(means, stds, target, policy.critic.mean_stds), means.detach().mean()


def actor_objective(policy: DACERPolicy, observations: PyTorchObs) -> th.Tensor:
    """
    Step 2: -mean min_i mu_i(s, a), with the gradient through the whole chain that makes a.

    :param policy: The policy.
    :param observations: s.
    """
    with train_mode(policy.actor):
        actions = policy.act(observations)
    return source_loss(policy.min_q(observations, actions))
