"""From actions of groups to actions of muscles: the mathematics of DynSyn (arXiv 2407.11472)."""

import math
from collections.abc import Sequence

import torch as th
from torch import nn

from sb3_qflex.common.networks import SquashedGaussian, squash

#: The largest A, and what a muscle's e in [-1, 1] is multiplied by before it is clipped to [-A, A].
MAX_AMPLITUDE = 0.1


def amplitude(num_timesteps: int, weight_k: float, weight_a0: float) -> float:
    """
    A(n) = min(0.1, max(0, k (n - a0))).

    :param num_timesteps: n, steps of all environments together
    :param weight_k: k, per step
    :param weight_a0: a0, in steps
    """
    return min(MAX_AMPLITUDE, max(0.0, weight_k * (num_timesteps - weight_a0)))


class Synergies(nn.Module):
    """
    Muscles in groups: the first of each group gets its action a_g, any other one clip(a_g w, -1, 1) with its weight
    w = 1 + clip(0.1 e, -A, A), e = tanh(mean + exp(weight_log_std) noise).

    :param groups: G lists that hold each of the \\|A\\| muscles once
    :param weight_log_std: Fixed log standard deviation of the weights' noise
    """

    owners: th.Tensor
    order: th.Tensor
    amplitude: th.Tensor

    def __init__(self, groups: Sequence[Sequence[int]], weight_log_std: float):
        super().__init__()
        self.n_groups = len(groups)
        self.weight_std = math.exp(weight_log_std)
        followers = [(muscle, number) for number, group in enumerate(groups) for muscle in group[1:]]
        place = {group[0]: number for number, group in enumerate(groups)}
        place.update({muscle: self.n_groups + i for i, (muscle, _) in enumerate(followers)})
        self.n_weights = len(followers)
        # Derived from the groups, so not saved; A is, since a policy on its own knows no number of steps.
        self.register_buffer("owners", th.tensor([n for _, n in followers], dtype=th.long), persistent=False)
        self.register_buffer("order", th.tensor([place[i] for i in range(len(place))]), persistent=False)
        self.register_buffer("amplitude", th.zeros(()))

    def set_amplitude(self, value: float) -> None:
        """
        :param value: A, 0 to 0.1
        """
        # Not in place: what acts may have been made in inference mode.
        self.amplitude = th.full_like(self.amplitude, value)

    def expand(self, group_actions: th.Tensor, corrections: th.Tensor) -> th.Tensor:
        """
        Actions of all muscles.

        :param group_actions: a_g, shape (B, G), in [-1, 1]
        :param corrections: e, shape (B, \\|A\\| - G), in [-1, 1]
        :return: Shape (B, \\|A\\|), in [-1, 1]
        """
        return self.spread(group_actions, corrections).clamp(-1.0, 1.0)

    def spread(self, group_actions: th.Tensor, corrections: th.Tensor) -> th.Tensor:
        """
        The same without a box to stay in.

        :param group_actions: a_g, shape (B, G)
        :param corrections: e, shape (B, \\|A\\| - G), in [-1, 1]
        :return: Shape (B, \\|A\\|)
        """
        weights = 1.0 + (MAX_AMPLITUDE * corrections).clamp(-self.amplitude, self.amplitude)
        return th.cat([group_actions, group_actions[:, self.owners] * weights], dim=1)[:, self.order]

    def corrections(self, mean: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        e: tanh(mean), or a sample around it.

        :param mean: Shape (B, \\|A\\| - G)
        :param deterministic: Whether to take tanh(mean)
        """
        # Without weights nothing is drawn, and what others draw stays as it is.
        if deterministic or self.n_weights == 0:
            return mean.tanh()
        return (mean + self.weight_std * th.randn_like(mean)).tanh()

    def act(self, mean: th.Tensor, log_std: th.Tensor, weight_mean: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        Actions of all muscles, from a tanh-squashed Gaussian over groups.

        :param mean: Shape (B, G)
        :param log_std: Shape (B, G)
        :param weight_mean: Shape (B, \\|A\\| - G)
        :param deterministic: Whether to take tanh of the means
        :return: Shape (B, \\|A\\|), in [-1, 1]
        """
        return self.expand(squash(mean, log_std, deterministic), self.corrections(weight_mean, deterministic))

    def act_log_prob(self, mean: th.Tensor, log_std: th.Tensor, weight_mean: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        A reparameterised sample, and the log-probability of its groups' actions alone.

        :param mean: Shape (B, G)
        :param log_std: Shape (B, G)
        :param weight_mean: Shape (B, \\|A\\| - G)
        :return: Actions (B, \\|A\\|) and log-probabilities (B,)
        """
        group_actions, log_prob = SquashedGaussian(self.n_groups).log_prob_from_params(mean, log_std)
        return self.expand(group_actions, self.corrections(weight_mean, False)), log_prob
