"""
Lattice's action distributions, behind SB3's interface.

Symbols: x in R^n is the policy's last latent state, a = W x + b in R^d the mean action, W the output weights (d, n).
EPSILON is added to the variance of each actuator, in samples and densities alike, for the sake of the factorisation.

Source: Chiappa et al., Latent Exploration for Reinforcement Learning, NeurIPS 2023, arXiv 2305.20065.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    Distribution,
    StateDependentNoiseDistribution,
    TanhBijector,
)
from torch import nn

from sb3_qflex.lattice.gaussian import LatticeGaussian

EPSILON = 1e-6
#: Smallest latent variance: its root has no gradient at 0, where a ReLU layer that is silent puts it.
_SMALLEST_VARIANCE = 1e-12


class _LatticeNoise(Distribution):
    """What both forms do with a :class:`LatticeGaussian`, and with the tanh behind it where there is one."""

    distribution: Any  # a LatticeGaussian, which SB3's classes do not expect
    bijector: TanhBijector | None
    #: The last actions before the tanh, from which their log-probabilities come without its inverse.
    gaussian_actions: th.Tensor

    def sample(self) -> th.Tensor:
        return self._squash(self.distribution.rsample())

    def mode(self) -> th.Tensor:
        return self._squash(self.distribution.mean)

    def _squash(self, gaussian_actions: th.Tensor) -> th.Tensor:
        self.gaussian_actions = gaussian_actions
        return gaussian_actions if self.bijector is None else self.bijector.forward(gaussian_actions)

    def log_prob(self, actions: th.Tensor, gaussian_actions: th.Tensor | None = None) -> th.Tensor:
        """
        :param actions: Shape (B, d).
        :param gaussian_actions: The same before the tanh, where they are known.
        :return: Shape (B,).
        """
        if self.bijector is None:
            return self.distribution.log_prob(actions)
        if gaussian_actions is None:
            gaussian_actions = self.bijector.inverse(actions)
        try:
            log_prob = self.distribution.log_prob(gaussian_actions)
        except th.linalg.LinAlgError:
            # Parameters that are not finite: the guard of the training step reports them by name.
            log_prob = gaussian_actions.sum(dim=1) * math.nan
        return log_prob - self.bijector.log_prob_correction(gaussian_actions).sum(dim=1)

    def entropy(self) -> th.Tensor | None:
        return self.distribution.entropy() if self.bijector is None else None

    def actions_from_params(self, *parameters: Any, deterministic: bool = False, **more: Any) -> th.Tensor:
        actions = self.proba_distribution(*parameters, **more).get_actions(deterministic=deterministic)
        self.detach()
        return actions

    def log_prob_from_params(self, *parameters: Any, **more: Any) -> tuple[th.Tensor, th.Tensor]:
        actions = self.proba_distribution(*parameters, **more).sample()
        log_prob = self.log_prob(actions, self.gaussian_actions)
        self.detach()
        return actions, log_prob

    def detach(self) -> None:
        """Keep the last distribution without its graph and its factorisation, which would stay in memory."""
        self.distribution = self.distribution.detach()
        self.gaussian_actions = self.gaussian_actions.detach()


class LatticeDistribution(_LatticeNoise, DiagGaussianDistribution):
    """
    Plain Lattice: Sigma = W diag(std_x^2) W^T + diag(std_a^2), with std = exp(l) exp(log_std_init).

    :param action_dim: d.
    :param log_std_init: Added to all log standard deviations.
    :param epsilon: Added to the actuators' variances.
    """

    bijector = None

    def __init__(self, action_dim: int, log_std_init: float = 0.0, epsilon: float = EPSILON):
        super().__init__(action_dim)
        self.log_std_init = log_std_init
        self.epsilon = epsilon

    def proba_distribution_net(self, latent_dim: int, log_std_init: float = 0.0) -> tuple[nn.Module, nn.Parameter]:
        """
        The layer of means, and a parameter l of d + n zeros.

        :param latent_dim: n.
        :param log_std_init: See the class.
        """
        self.log_std_init = log_std_init
        return nn.Linear(latent_dim, self.action_dim), nn.Parameter(th.zeros(self.action_dim + latent_dim))

    def proba_distribution(  # type: ignore[override]
        self, mean_actions: th.Tensor, log_std: th.Tensor, weight: th.Tensor
    ) -> "LatticeDistribution":
        """
        :param mean_actions: W x + b, shape (B, d).
        :param log_std: l, the actuators' d entries first, shape (B, d + n) or (d + n,).
        :param weight: W, shape (d, n), with its gradient.
        """
        std = (log_std + self.log_std_init).exp()
        action_std, latent_std = std.split([self.action_dim, weight.shape[1]], dim=-1)
        action_std = (action_std.square() + self.epsilon).sqrt()
        self.distribution = LatticeGaussian(mean_actions, weight, latent_std, action_std)
        return self


class SquashedLatticeDistribution(LatticeDistribution):
    """
    Plain Lattice with a tanh behind it, whose log-probability is less sum log(1 - tanh^2 + 1e-6), for SAC.

    :param arguments: Of :class:`LatticeDistribution`.
    """

    bijector = TanhBijector(1e-6)  # type: ignore[assignment]


class Exploration(NamedTuple):
    """
    Noise that is held for some steps, of each environment its own.

    :param matrices: P_x and P_a side by side, shape (environments, n, n + d).
    :param offsets: The part that no state scales, of variance std_reg^2 + epsilon, shape (environments, d).
    """

    matrices: th.Tensor
    offsets: th.Tensor


class LatticeStateDependentDistribution(_LatticeNoise, StateDependentNoiseDistribution):
    """
    State-dependent Lattice: a = W (x + alpha P_x^T x) + b + P_a^T x, with P_x ~ N(0, S_x^2) and P_a ~ N(0, S_a^2).

    The parameter L has S = f(clip(L, log std_clip) - (1/2) log n), where f is exp or expln. The density is that of
    Sigma = alpha^2 W diag((S_x^2)^T x^2) W^T + diag((S_a^2)^T x^2 + std_reg^2).

    Inside of :meth:`exploring` samples use matrices that are held; elsewhere each row is drawn by itself, from the
    same law.

    :param action_dim: d.
    :param full_std: Whether L is (n, n + d), or (n, 2) with one column for P_x and one for P_a.
    :param use_expln: f: expln for exp.
    :param squash_output: Whether a tanh follows.
    :param learn_features: Whether Sigma has a gradient to x.
    :param epsilon: Added to the actuators' variances, and SB3's of the tanh correction.
    :param lattice_alpha: alpha, at least 0.
    :param std_clip: Smallest and largest exp(L).
    :param std_reg: Further standard deviation of each actuator, in density and samples.
    :param expln_eps: As in SB3's expln: added behind its kink.
    """

    weight: th.Tensor

    def __init__(
        self,
        action_dim: int,
        full_std: bool = True,
        use_expln: bool = False,
        squash_output: bool = False,
        learn_features: bool = False,
        epsilon: float = EPSILON,
        *,
        lattice_alpha: float = 1.0,
        std_clip: tuple[float, float] = (1e-3, 1.0),
        std_reg: float = 0.0,
        expln_eps: float = 1e-6,
    ):
        super().__init__(action_dim, full_std, use_expln, squash_output, learn_features, epsilon)
        self.lattice_alpha = lattice_alpha
        self.std_clip = std_clip
        self.regular_std = math.sqrt(std_reg**2 + epsilon)
        self.expln_eps = expln_eps
        self.held: Exploration | None = None
        self.held_steps = 0
        self._is_exploring = False

    def proba_distribution_net(
        self, latent_dim: int, log_std_init: float = -2.0, latent_sde_dim: int | None = None
    ) -> tuple[nn.Module, nn.Parameter]:
        """
        The layer of means, and the parameter L.

        :param latent_dim: n.
        :param log_std_init: What L is filled with.
        :param latent_sde_dim: Kept for SB3's interface: x is the input of the layer of means.
        """
        self.latent_sde_dim = latent_dim
        columns = latent_dim + self.action_dim if self.full_std else 2
        return nn.Linear(latent_dim, self.action_dim), nn.Parameter(th.full((latent_dim, columns), log_std_init))

    def get_std(self, log_std: th.Tensor) -> th.Tensor:
        """
        S = (S_x, S_a), shape (n, n + d).

        :param log_std: L.
        """
        n, (low, high) = len(log_std), self.std_clip
        shifted = log_std.clamp(math.log(low), math.log(high)) - 0.5 * math.log(n)
        if self.use_expln:
            std = th.where(shifted <= 0.0, shifted.exp(), (shifted.clamp_min(0.0) + self.expln_eps).log1p() + 1.0)
        else:
            std = shifted.exp()
        if self.full_std:
            return std
        return th.cat([std[:, :1].expand(n, n), std[:, 1:].expand(n, self.action_dim)], dim=1)

    def proba_distribution(  # type: ignore[override]
        self, mean_actions: th.Tensor, log_std: th.Tensor, latent_sde: th.Tensor, weight: th.Tensor
    ) -> "LatticeStateDependentDistribution":
        """
        :param mean_actions: W x + b, shape (B, d).
        :param log_std: L.
        :param latent_sde: x, shape (B, n).
        :param weight: W, shape (d, n), with its gradient.
        """
        self._latent_sde = latent_sde if self.learn_features else latent_sde.detach()
        self.weight = weight
        self.std = self.get_std(log_std)
        variances = self._latent_sde.square() @ self.std.square()
        latent_variance, action_variance = variances.split([weight.shape[1], self.action_dim], dim=1)
        self.distribution = LatticeGaussian(
            mean_actions,
            weight,
            self.lattice_alpha * latent_variance.clamp_min(_SMALLEST_VARIANCE).sqrt(),
            (action_variance + self.regular_std**2).sqrt(),
        )
        return self

    def detach(self) -> None:
        super().detach()
        self._latent_sde, self.weight, self.std = self._latent_sde.detach(), self.weight.detach(), self.std.detach()

    # --- Noise that is held ---

    @contextmanager
    def exploring(self, sample_freq: int | None = None) -> Iterator[None]:
        """
        Inside the ``with``, one step of the environments, samples use matrices that are held.

        :param sample_freq: Steps after which new ones are drawn; None for never by itself.
        """
        if sample_freq is not None and self.held_steps >= sample_freq:
            self.sample_weights()
        self.held_steps += 1
        self._is_exploring = True
        try:
            yield
        finally:
            self._is_exploring = False

    def sample_weights(self, log_std: th.Tensor | None = None, batch_size: int = 1) -> None:
        """
        Let the next sample of :meth:`exploring` draw new matrices, as many as there are environments then.

        :param log_std: Kept for SB3's interface: the deviations are those of that moment.
        :param batch_size: Kept for SB3's interface.
        """
        self.held, self.held_steps = None, 0

    def sample(self) -> th.Tensor:
        if not self._is_exploring:
            return super().sample()
        return self._squash(self.distribution.mean + self.get_noise(self._latent_sde))

    def get_noise(self, latent_sde: th.Tensor) -> th.Tensor:
        """
        Of the matrices that are held, drawn anew where there are none for as many environments.

        :param latent_sde: x, shape (environments, n).
        :return: Shape (environments, d).
        """
        n_envs = len(latent_sde)
        if self.held is None or len(self.held.offsets) != n_envs:
            std = self.std.detach()
            normal = th.randn(n_envs, *std.shape, device=std.device, dtype=std.dtype)
            offsets = th.randn(n_envs, self.action_dim, device=std.device, dtype=std.dtype)
            self.held = Exploration(normal.mul_(std), offsets.mul_(self.regular_std))
        noise = th.bmm(latent_sde.unsqueeze(1), self.held.matrices).squeeze(1)
        latent_noise, action_noise = noise.split([self.weight.shape[1], self.action_dim], dim=1)
        return self.lattice_alpha * latent_noise @ self.weight.t() + action_noise + self.held.offsets
