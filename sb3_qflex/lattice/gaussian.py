"""The Gaussian that latent noise makes of an action, as a pure function of its mean, output weights and deviations."""

import math
from functools import cached_property

import torch as th
from torch.distributions import Distribution, LowRankMultivariateNormal, MultivariateNormal

from sb3_qflex.lattice.factorised import LogDetAndQuadratic

#: Smallest latent variance whose inverse float32 holds.
_TINY = 1e-30


class LatticeGaussian:
    """
    N(mean, W diag(latent_std^2) W^T + diag(action_std^2)): the law of W (x + e_x) + b + e_a.

    Deviations without a batch dimension hold for all rows, whose covariance is then factorised once.

    :param mean: W x + b, shape (B, d).
    :param weight: W, shape (d, n).
    :param latent_std: Of e_x, shape (B, n) or (n,).
    :param action_std: Of e_a, positive, shape (B, d) or (d,).
    """

    def __init__(self, mean: th.Tensor, weight: th.Tensor, latent_std: th.Tensor, action_std: th.Tensor):
        self.mean = mean
        self.weight = weight
        self.latent_std = latent_std
        self.action_std = action_std

    def detach(self) -> "LatticeGaussian":
        """The same without a graph."""
        return LatticeGaussian(*(part.detach() for part in self._parts()))

    def _parts(self) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        return self.mean, self.weight, self.latent_std, self.action_std

    def rsample(self) -> th.Tensor:
        """A reparameterised sample, shape (B, d); exact without any factorisation."""
        latent_noise = self.latent_std * self.mean.new_empty(len(self.mean), self.weight.shape[1]).normal_()
        return self.mean + latent_noise @ self.weight.t() + self.action_std * th.randn_like(self.mean)

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: Shape (B, d).
        :return: Shape (B,).
        """
        if not self._is_batched:
            return self.readable_log_prob(actions)
        log_det, quadratic = self._log_det_and_quadratic(actions)
        return -0.5 * (quadratic + log_det + len(self.weight) * math.log(2.0 * math.pi))

    def readable_log_prob(self, actions: th.Tensor) -> th.Tensor:
        """
        :meth:`log_prob` as :attr:`density` defines it.

        :param actions: Shape (B, d).
        :return: Shape (B,).
        """
        return self.density.log_prob(actions.to(self.density.mean.dtype)).to(actions.dtype)

    def entropy(self) -> th.Tensor:
        """In closed form, shape (B,)."""
        if not self._is_batched:
            return self.density.entropy().to(self.mean.dtype)
        log_det, _ = self._log_det_and_quadratic(self.mean)
        return 0.5 * (log_det + len(self.weight) * (1.0 + math.log(2.0 * math.pi)))

    @property
    def _is_batched(self) -> bool:
        """Whether each row has a Sigma of its own; one for all needs no more than :attr:`density`."""
        return self.latent_std.dim() == self.action_std.dim() == 2

    def _log_det_and_quadratic(self, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        log det Sigma and e^T Sigma^-1 e with e = actions - mean, in float64 where float32 does not do, as in
        :attr:`density`, which is their definition.

        :param actions: Shape (B, d).
        :return: Two of shape (B,).
        """
        try:
            return self._in_closed_form(actions)
        except th.linalg.LinAlgError:
            precise = LatticeGaussian(*(part.double() for part in self._parts()))
            log_det, quadratic = precise._in_closed_form(actions.double())
            return log_det.to(actions.dtype), quadratic.to(actions.dtype)

    def _in_closed_form(self, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Where n < d they come from the n x n matrix C = W^T D^-1 W + V^-1, with V and D the variances:
        det Sigma = det C det V det D, and Sigma^-1 = D^-1 - D^-1 W C^-1 W^T D^-1.
        """
        errors, latent, action = actions - self.mean, self.latent_std.square(), self.action_std.square()
        n_actions, n_latents = self.weight.shape
        if n_latents >= n_actions:
            return LogDetAndQuadratic.apply(self.weight, latent, action, errors)
        latent, scaled = latent.clamp_min(_TINY), errors / action
        parts = self.weight.t(), action.reciprocal(), latent.reciprocal(), scaled @ self.weight
        log_det, quadratic = LogDetAndQuadratic.apply(*parts)
        log_det = log_det + latent.log().sum(dim=1) + action.log().sum(dim=1)
        return log_det, (errors * scaled).sum(dim=1) - quadratic

    @property
    def covariance(self) -> th.Tensor:
        """Sigma, shape (B, d, d) or (d, d)."""
        n_actions = len(self.weight)
        if self.latent_std.dim() == 2 and len(self.latent_std) >= n_actions:
            # W is shared: one product for all rows, of n outer products that are fewer numbers than B factors.
            columns = self.weight.t()
            outer = (columns.unsqueeze(2) * columns.unsqueeze(1)).flatten(1)
            latent_part = (self.latent_std.square() @ outer).unflatten(1, (n_actions, n_actions))
        else:
            factor = self.weight * self.latent_std.unsqueeze(-2)
            latent_part = factor @ factor.mT
        return latent_part + th.diag_embed(self.action_std.square())

    @cached_property
    def density(self) -> Distribution:
        """
        torch's form of it, of low rank where n < d: the readable definition, and the fast one where Sigma is the same
        for all rows. It factorises Sigma, so that sampling makes none.
        """
        try:
            return self._density()
        except th.linalg.LinAlgError:
            # Latent and action noise can differ by more than float32 resolves.
            return LatticeGaussian(*(part.double() for part in self._parts()))._density()

    def _density(self) -> Distribution:
        n_actions, n_latents = self.weight.shape
        if n_latents < n_actions:
            factor = self.weight * self.latent_std.unsqueeze(-2)
            return LowRankMultivariateNormal(self.mean, factor, self.action_std.square(), validate_args=False)
        return MultivariateNormal(self.mean, self.covariance, validate_args=False)
