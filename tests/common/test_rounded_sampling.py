"""Chains in bfloat16: near to those of float32, for drawn noise alone, and only where they are faster."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_diffusion import small_diffusion
from helpers.small_models import assert_same, observations, parameters
from stable_baselines3.common.utils import ConstantSchedule
from torch import nn

from sb3_qflex import DPMD, QSM, SDAC
from sb3_qflex.common.fast import rounding
from sb3_qflex.sdac.policies import SDACPolicy

ALGORITHMS = [SDAC, DPMD, QSM]
OBS, BOX = spaces.Box(-1.0, 1.0, (83,), np.float32), spaces.Box(-1.0, 1.0, (39,), np.float32)


def sampled(model: Any) -> np.ndarray:
    """Stochastic actions from the same noise."""
    th.manual_seed(1)
    return model.predict(observations(model), deterministic=False)[0]


@pytest.mark.parametrize("activation_fn", [nn.Mish, nn.ReLU])
@th.no_grad()
def test_both_types_lead_to_the_same_place(activation_fn: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "has_fast_bfloat16", lambda device: True)
    th.manual_seed(0)
    policy = SDACPolicy(OBS, BOX, ConstantSchedule(1e-3), activation_fn=activation_fn, sampling_dtype="bfloat16")
    for layer in policy.actor.net[::2]:
        layer.weight.mul_(2.0)  # so that the noise predictor says something
    features, noise = th.rand(200, 83) * 2 - 1, th.randn(20, 200, 39)
    exact, rounded = (
        policy.chain(policy.noise_at(policy.actor, features, 1, dtype), noise) for dtype in ("float32", "bfloat16")
    )
    assert exact.dtype == rounded.dtype == th.float32
    assert exact.std() > 0.1
    assert 0.0 < (rounded - exact).abs().mean() < 0.01 * exact.std()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_is_for_drawn_noise_and_never_for_deterministic_actions(algorithm: Any, fast: bool) -> None:
    model = small_diffusion(algorithm)
    deterministic, drawn = model.predict(observations(model), deterministic=True)[0], sampled(model)
    model.sampling_dtype = "bfloat16"
    np.testing.assert_array_equal(model.predict(observations(model), deterministic=True)[0], deterministic)
    rounded = sampled(model)
    assert np.array_equal(rounded, drawn) != fast
    np.testing.assert_allclose(rounded, drawn, atol=0.1)


@pytest.mark.parametrize("options", [{}, {"policy_kwargs": {"activation_fn": nn.Tanh}}], ids=["", "no fast form"])
def test_where_it_is_not_taken_one_warning_says_why(
    options: dict[str, Any], fast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = small_diffusion(SDAC, sampling_dtype="bfloat16", **options)
    for _ in range(2):
        sampled(model)
    reason = "networks with other layers" if options else "not faster on this cpu device"
    expected = 0 if fast and not options else 1
    assert caplog.text.count("Sampling stays in float32 instead of bfloat16") == caplog.text.count(reason) == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_saved_training_goes_on_with_it(algorithm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "has_fast_bfloat16", lambda device: True)
    model = small_diffusion(algorithm, sampling_dtype="bfloat16").learn(40)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", device="cpu")
    assert loaded.sampling_dtype == loaded.policy.sampling_dtype == "bfloat16"
    assert_same(parameters(model), parameters(loaded))
    np.testing.assert_array_equal(sampled(model), sampled(loaded))
    policy = type(model.policy).load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
    assert policy.sampling_dtype == "bfloat16"


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="sampling_dtype"):
        small_diffusion(SDAC, sampling_dtype="float16")
