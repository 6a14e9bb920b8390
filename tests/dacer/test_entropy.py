"""Entropy estimates against closed forms and against scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import torch as th

from sb3_qflex.dacer.entropy import choose_estimator, diag_entropy, gmm_entropy


def normal(*shape: int, std: float = 1.0, seed: int = 0) -> th.Tensor:
    return std * th.randn(*shape, generator=th.Generator().manual_seed(seed))


def gaussian_entropy(std: float, dim: int) -> float:
    return dim * (0.5 * (1.0 + math.log(2.0 * math.pi)) + math.log(std))


def test_far_clusters_have_the_entropy_of_one_and_that_of_the_choice() -> None:
    centres = th.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    labels = th.arange(20_000) % 3
    samples = centres[labels] + normal(20_000, 2, std=0.05)
    entropy = gmm_entropy(samples.unsqueeze(0), 3).item()
    assert entropy == pytest.approx(math.log(3.0) + gaussian_entropy(0.05, 2), abs=0.05)
    assert entropy == pytest.approx(-2.054975, abs=0.05)


def test_of_one_gaussian_it_is_an_upper_bound_by_log_3_at_most() -> None:
    samples = normal(1, 20_000, 2, std=0.45)
    exact = gaussian_entropy(0.45, 2)
    assert exact == pytest.approx(1.2409, abs=1e-4)
    assert exact - 0.02 <= gmm_entropy(samples, 3).item() <= exact + math.log(3.0)
    assert diag_entropy(samples).item() == pytest.approx(exact, abs=0.02)


def test_states_do_not_depend_on_each_other() -> None:
    samples = normal(4, 200, 3) * th.tensor([0.1, 0.3, 1.0, 3.0]).view(4, 1, 1)
    entropies = gmm_entropy(samples, 1)
    for state in range(4):
        assert gmm_entropy(samples[state : state + 1], 1).item() == pytest.approx(entropies[state].item())
    # One component is the Gaussian with the samples' covariance.
    covariances = [np.cov(one.double().numpy(), rowvar=False, bias=True) for one in samples]
    expected = [
        0.5 * (3 * (1 + math.log(2 * math.pi)) + np.linalg.slogdet(c + 1e-6 * np.eye(3))[1]) for c in covariances
    ]
    np.testing.assert_allclose(entropies, expected, rtol=1e-6)


def test_it_is_the_formula_on_what_scikit_learn_fits() -> None:
    mixture = pytest.importorskip("sklearn.mixture", reason="scikit-learn is not installed")
    # Clusters that touch, but with one optimum that both find.
    shifts = th.tensor([[-0.7, 0.2, 0.0], [0.5, -0.6, 0.4], [0.3, 0.6, -0.4]])[th.arange(200) % 3]
    samples = normal(8, 200, 3, std=0.2, seed=3) + shifts
    found = gmm_entropy(samples, 3)
    for state, entropy in zip(samples.double().numpy(), found.tolist(), strict=True):
        fitted = mixture.GaussianMixture(3, random_state=42).fit(state)
        of_components = 0.5 * (3 * (1 + math.log(2 * math.pi)) + np.linalg.slogdet(fitted.covariances_)[1])
        expected = fitted.weights_ @ (of_components - np.log(fitted.weights_))
        assert entropy == pytest.approx(expected, abs=5e-3)


def test_samples_without_spread_have_the_entropy_of_the_floor() -> None:
    constant = th.full((2, 200, 2), 1.0)
    assert gmm_entropy(constant, 3).tolist() == pytest.approx([gaussian_entropy(1e-3, 2)] * 2, abs=1e-6)
    assert diag_entropy(constant).tolist() == pytest.approx([gaussian_entropy(1e-3, 2)] * 2, abs=1e-6)


def test_the_mixture_is_flagged_and_not_used_where_it_reads_too_little() -> None:
    samples, exact = normal(2, 200, 80, std=0.45), gaussian_entropy(0.45, 80)
    assert gmm_entropy(samples, 3).max().item() < exact - 0.8 * 80  # 0.8 nats too low for each coordinate
    assert diag_entropy(samples).mean().item() == pytest.approx(exact, abs=2.0)
    with pytest.warns(UserWarning, match="80 actuators are more than the 32"):
        assert choose_estimator(None, 80) == "diag"
    with pytest.warns(UserWarning, match="reads far too low an entropy with 80 actuators"):
        assert choose_estimator("gmm", 80) == "gmm"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [choose_estimator(None, 32), choose_estimator("diag", 80), choose_estimator("gmm", 2)] == [
            "gmm",
            "diag",
            "gmm",
        ]


def test_global_random_state_has_no_say() -> None:
    samples = normal(2, 50, 2)
    th.manual_seed(1)
    first = gmm_entropy(samples, 3)
    state = th.get_rng_state()
    th.manual_seed(2)
    assert th.equal(first, gmm_entropy(samples, 3))
    th.manual_seed(1)
    assert th.equal(state, th.get_rng_state())
