"""A Q that is far beyond what the rewards can add up to stops training; a healthy one never does."""

from functools import partial

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, small_model

from sb3_qflex import QFlex
from sb3_qflex.common.guard import LearnerGuard, QBound


def inflate(model: QFlex, factor: float) -> None:
    """Multiply Q."""
    with th.no_grad():
        for net in model.critic.q_networks:
            last = [module for module in net.modules() if isinstance(module, th.nn.Linear)][-1]
            last.weight.mul_(factor)
            last.bias.add_(factor)


def test_a_diverged_q_stops_training_and_says_what_to_try():
    model = small_model(BoxEnv(), gamma=0.9).learn(25)
    inflate(model, 1e6)
    with pytest.raises(ValueError, match=r"Q has diverged at gradient step 6, after 25 .*smaller learning_rate.*=None"):
        model.train(gradient_steps=1, batch_size=8)
    # Reported once, as everything that the guard reports.
    model._guard.raise_if_any(25)


@pytest.mark.parametrize("options", [{"divergence_factor": None}, {"gamma": 1.0}], ids=str)
def test_turned_off(options):
    model = small_model(BoxEnv(), **options).learn(25)
    inflate(model, 1e6)
    model.train(gradient_steps=1, batch_size=8)


def test_the_limit():
    bound = partial(QBound().limit, factor=100.0, gamma=0.99, action_dim=3)
    zero = th.zeros(())
    assert float(bound(zero, th.zeros(4, 1), None)) == pytest.approx(1e4)  # rewards below 1 count as 1
    assert float(bound(zero, th.tensor([[-5.0], [2.0]]), None)) == pytest.approx(5e4)
    # The largest one seen so far counts, and what is not finite does not.
    assert float(bound(zero, th.tensor([[float("nan")]]), None)) == pytest.approx(5e4)
    assert float(bound(zero, th.tensor([[float("inf")]]), None)) == pytest.approx(5e4)
    assert float(bound(zero, th.ones(2, 1), th.tensor([0.5]))) == pytest.approx(100.0 * (5.0 + 15.0) / 0.01)


def test_fresh_networks_may_say_anything():
    bound = partial(QBound().limit, factor=2.0, gamma=0.0, action_dim=3)
    first = th.tensor(-1000.0)
    assert float(bound(first, th.zeros(1), None)) == 2000.0
    assert float(bound(th.tensor(5000.0), th.zeros(1), None)) == 2000.0


def test_not_finite_comes_first():
    guard = LearnerGuard()
    guard.check("actor loss", th.tensor(float("nan")), 1)
    guard.check_bound(th.tensor(float("nan")), th.tensor(1.0), 1)
    with pytest.raises(ValueError, match="Non-finite actor loss at gradient step 1"):
        guard.raise_if_any(1)


@pytest.mark.parametrize("value", [0.5, 0, float("nan"), "x"])
def test_factor_is_checked(value):
    with pytest.raises(ValueError, match=r"divergence_factor must be a number in \[1, inf\)"):
        small_model(BoxEnv(), divergence_factor=value)


def test_many_updates_for_each_step_overestimate_without_an_alarm():
    class Constant(BoxEnv):
        def step(self, action: np.ndarray):
            observation, _, *rest = super().step(action)
            return observation, 1e-3, *rest

    model = small_model(Constant(), gradient_steps=8, learning_rate=1e-2, gamma=0.95).learn(60)
    assert model._n_updates == 320
