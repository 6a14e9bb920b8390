"""DPMD: its weights against known answers, and its running statistics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.small_diffusion import small_diffusion
from helpers.small_models import parameters

from sb3_qflex.dpmd.dpmd import DPMD
from sb3_qflex.dpmd.objectives import mirror_weights, moved_statistics

Q = th.tensor([-10.0, 0.0, 10.0])


def test_weights_are_clipped_at_three_deviations() -> None:
    weights = mirror_weights(Q, th.tensor(0.0), th.tensor(1.0), th.tensor(5.0))
    th.testing.assert_close(weights, th.tensor([0.548812, 1.0, 1.822119]))


def test_the_references_normalisation_divides_the_mean_alone() -> None:
    q, mean, std, alpha = th.tensor([2.0]), th.tensor(4.0), th.tensor(2.0), th.tensor(1.0)
    assert mirror_weights(q, mean, std, alpha).item() == pytest.approx(np.exp(-1.0))
    assert mirror_weights(q, mean, std, alpha, "reference").item() == pytest.approx(1.0)


def test_statistics_move_by_a_thousandth_and_ignore_what_is_not_finite() -> None:
    start = th.tensor([0.0, 1.0])
    th.testing.assert_close(moved_statistics(start, Q), th.tensor([0.0, 1.0 + 0.001 * ((200 / 3) ** 0.5 - 1.0)]))
    assert th.equal(moved_statistics(start, th.tensor([1.0, th.nan])), start)


def test_statistics_are_used_before_they_take_a_batch_in() -> None:
    model = small_diffusion(DPMD, learning_starts=50).learn(50)
    assert model.q_statistics.tolist() == [0.0, 1.0]
    model.train(1, batch_size=8)
    after = model.q_statistics.clone()
    assert not th.equal(after, th.tensor([0.0, 1.0]))
    model.train(1, batch_size=8)  # no policy update
    assert th.equal(model.q_statistics, after) and model.n_policy_updates == 1


@pytest.mark.parametrize("options", [{}, {"normalise": "reference"}], ids=str)
def test_the_noise_predictor_learns_from_weighted_actions(options: dict[str, Any]) -> None:
    model = small_diffusion(DPMD, learning_starts=50, **options).learn(50)
    start = parameters(model)
    model.train(1, batch_size=8)
    changed = {name.partition(".")[0] for name, value in parameters(model).items() if not th.equal(value, start[name])}
    assert changed == {"actor", "critic", "actor_target", "critic_target", "temperature"}


def test_critics_take_two_steps_on_one_gradient_on_request(tmp_path: Path) -> None:
    moves = []
    for options in ({}, {"critic_steps": 2}):
        model = small_diffusion(DPMD, learning_starts=50, **options).learn(50)
        start = parameters(model)
        model.train(1, batch_size=8)
        moves.append({k: v - start[k] for k, v in parameters(model).items() if k.startswith("critic.q_networks")})
    # Adam's first steps on equal gradients have equal lengths.
    for name, one in moves[0].items():
        th.testing.assert_close(moves[1][name], 2.0 * one, rtol=1e-3, atol=1e-6)
    assert any(one.abs().max() > 1e-4 for one in moves[0].values())
    model.save(tmp_path / "model")
    assert DPMD.load(tmp_path / "model", device="cpu").critic_steps == 2


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="critic_steps must be an integer of at least 1, not 0"):
        small_diffusion(DPMD, critic_steps=0)
    with pytest.raises(ValueError, match="normalise='refrence' is unknown, did you mean 'reference'"):
        small_diffusion(DPMD, normalise="refrence")
    with pytest.raises(TypeError, match="DPMD has no option 'normalize', did you mean 'normalise'"):
        small_diffusion(DPMD, normalize="reference")
