"""Entropy of a policy at states, in nats, estimated from samples of its actions."""

import math
import warnings
from typing import NamedTuple

import torch as th

from sb3_qflex.common.validation import check_count

ESTIMATORS = ("gmm", "diag")
#: Actuators up to which 200 actions say enough about the full covariances of three components.
LARGEST_GMM = 32
# scikit-learn's defaults for GaussianMixture, with which the method's figures were made.
_COVARIANCE_FLOOR, _TOLERANCE, _MAX_ITERATIONS = 1e-6, 1e-3, 100
_SEED = 42
_KMEANS_ITERATIONS = 50


class _Mixture(NamedTuple):
    """Weights (S, k), means (S, k, d), and Cholesky factors of the covariances (S, k, d, d)."""

    weights: th.Tensor
    means: th.Tensor
    factors: th.Tensor


def choose_estimator(estimator: str | None, action_dim: int) -> str:
    """
    The estimator that is used, with a warning where "gmm" says little.

    :param estimator: "gmm", "diag", or None for what suits the number of actuators.
    :param action_dim: |A|.
    """
    if action_dim <= LARGEST_GMM:
        return estimator or "gmm"
    if estimator is None:
        warnings.warn(
            f"DACER estimates the entropy from per-coordinate variances (entropy_estimator='diag'), since {action_dim} "
            f"actuators are more than the {LARGEST_GMM} up to which a mixture of full covariances can be fitted to its "
            "samples. Pass entropy_estimator='diag' to accept that in silence.",
            stacklevel=2,
        )
        return "diag"
    if estimator == "gmm":
        warnings.warn(
            f"entropy_estimator='gmm' reads far too low an entropy with {action_dim} actuators: its covariances are "
            "nearly singular, and the noise scale alpha can grow without end. Use 'diag' above "
            f"{LARGEST_GMM} actuators, or many more entropy_samples.",
            stacklevel=2,
        )
    return estimator


def check_components(components: int, samples: int) -> None:
    """
    :param components: Of the mixture.
    :param samples: Of each state.
    :raises ValueError: If it is no count, or larger than the number of samples.
    """
    check_count("entropy_components", components)
    if components > samples:
        raise ValueError(
            f"entropy_components={components!r} cannot be fitted to entropy_samples={samples!r} actions of a state: "
            "choose fewer components, or more samples."
        )


def check_samples(samples: int, components: int) -> None:
    """
    :param samples: Of each state.
    :param components: Of the mixture.
    :raises ValueError: If it is no count above 1, or smaller than the number of components.
    """
    check_count("entropy_samples", samples, 2)
    check_components(components, samples)


def diag_entropy(samples: th.Tensor) -> th.Tensor:
    """
    Entropy of a Gaussian with the variance of each coordinate: an upper bound for any distribution of these variances.

    :param samples: Shape (S, n, d).
    :return: Shape (S,).
    """
    variances = samples.double().var(dim=1, correction=0) + _COVARIANCE_FLOOR
    return 0.5 * (samples.shape[2] * _LOG_2_PI_E + variances.log().sum(dim=1))


def gmm_entropy(samples: th.Tensor, n_components: int) -> th.Tensor:
    """
    -sum_k w_k log w_k + sum_k w_k (d/2 (1 + log 2 pi) + 1/2 log det C_k) of a mixture fitted to each state's samples.

    An upper bound of the entropy of that mixture (DACER, eq. 12); exact for components far apart.

    :param samples: Shape (S, n, d).
    :param n_components: Components of the mixture, each with a full covariance.
    :return: Shape (S,), in float64.
    """
    weights, _, factors = _fit(samples.double(), n_components)
    of_components = 0.5 * samples.shape[2] * _LOG_2_PI_E + _half_log_det(factors)
    return (weights * of_components - th.xlogy(weights, weights)).sum(dim=1)


_LOG_2_PI_E = 1.0 + math.log(2.0 * math.pi)


def _half_log_det(factors: th.Tensor) -> th.Tensor:
    return factors.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def _fit(samples: th.Tensor, n_components: int) -> _Mixture:
    """Expectation maximisation from a k-means clustering; each state on its own until its likelihood stands still."""
    mixture = _maximise(samples, _kmeans(samples, n_components))
    likelihood = samples.new_full((len(samples),), -math.inf)
    active = th.arange(len(samples), device=samples.device)
    for _ in range(_MAX_ITERATIONS):
        responsibilities, newest = _expect(samples[active], _Mixture(*(part[active] for part in mixture)))
        for part, changed in zip(mixture, _maximise(samples[active], responsibilities), strict=True):
            part[active] = changed
        moved = (newest - likelihood[active]).abs() >= _TOLERANCE
        likelihood[active] = newest
        active = active[moved]
        if len(active) == 0:
            break
    return mixture


def _expect(samples: th.Tensor, mixture: _Mixture) -> tuple[th.Tensor, th.Tensor]:
    """Responsibilities (S, n, k), and the mean log-likelihood (S,)."""
    centred = (samples.unsqueeze(1) - mixture.means.unsqueeze(2)).transpose(2, 3)
    distances = th.linalg.solve_triangular(mixture.factors, centred, upper=False).square().sum(dim=2)
    normaliser = 0.5 * samples.shape[2] * math.log(2.0 * math.pi) + _half_log_det(mixture.factors)
    log_joint = (mixture.weights.log() - normaliser).unsqueeze(2) - 0.5 * distances
    log_likelihood = log_joint.logsumexp(dim=1)
    return (log_joint - log_likelihood.unsqueeze(1)).exp().transpose(1, 2), log_likelihood.mean(dim=1)


def _maximise(samples: th.Tensor, responsibilities: th.Tensor) -> _Mixture:
    # The floor keeps a component that has lost all of its samples from dividing by zero.
    counts = responsibilities.sum(dim=1) + 10.0 * th.finfo(samples.dtype).eps
    weighted = responsibilities.transpose(1, 2)
    means = weighted @ samples / counts.unsqueeze(2)
    centred = samples.unsqueeze(1) - means.unsqueeze(2)
    covariances = (weighted.unsqueeze(3) * centred).transpose(2, 3) @ centred / counts[..., None, None]
    covariances.diagonal(dim1=-2, dim2=-1).add_(_COVARIANCE_FLOOR)
    return _Mixture(counts / counts.sum(dim=1, keepdim=True), means, th.linalg.cholesky(covariances))


def _kmeans(samples: th.Tensor, n_components: int) -> th.Tensor:
    """One-hot labels (S, n, k) of Lloyd's iterations from a k-means++ start, with a generator of its own."""
    generator = th.Generator(samples.device).manual_seed(_SEED)
    n_states, n_samples, dim = samples.shape
    picked = th.randint(n_samples, (n_states, 1), generator=generator, device=samples.device)
    centres = samples.gather(1, picked.unsqueeze(2).expand(-1, -1, dim))
    for _ in range(n_components - 1):
        distances = th.cdist(samples, centres).square().amin(dim=2)
        # Where all samples are one, any of them will do.
        picked = th.multinomial(distances + th.finfo(samples.dtype).tiny, 1, generator=generator)
        centres = th.cat([centres, samples.gather(1, picked.unsqueeze(2).expand(-1, -1, dim))], dim=1)
    labels = th.cdist(samples, centres).argmin(dim=2)
    for _ in range(_KMEANS_ITERATIONS):
        one_hot = th.nn.functional.one_hot(labels, n_components).to(samples.dtype)
        counts = one_hot.sum(dim=1).unsqueeze(2)
        centres = th.where(counts > 0, one_hot.transpose(1, 2) @ samples / counts, centres)
        previous, labels = labels, th.cdist(samples, centres).argmin(dim=2)
        if th.equal(previous, labels):
            break
    return th.nn.functional.one_hot(labels, n_components).to(samples.dtype)
