"""DynSyn's mathematics (known answers of the paper), and that with a group for each muscle it is what it stands on."""

from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, assert_same, parameters
from stable_baselines3.common.utils import set_random_seed

from sb3_qflex import DynSynCrossQ, DynSynQFlex, DynSynSAC, QFlex
from sb3_qflex.dynsyn.synergies import Synergies, amplitude
from sb3_qflex.sac.sac import SAC

SMALL: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu"}
FLOW = {"flow_steps": 2, "guidance_steps": 2}


@pytest.mark.parametrize(("a", "third"), [(0.05, 0.525), (0.1, 0.54), (0.0, 0.5)])
def test_a_muscle_follows_its_group_within_the_amplitude(a: float, third: float) -> None:
    synergies = Synergies([[0, 2], [1]], 0.5)
    synergies.set_amplitude(a)
    actions = synergies.expand(th.tensor([[0.5, -0.4]]), th.tensor([[0.8]]))
    th.testing.assert_close(actions, th.tensor([[0.5, -0.4, third]]))


def test_groups_in_any_order_and_the_box() -> None:
    synergies = Synergies([[3, 1], [2, 0, 4]], 0.5)
    synergies.set_amplitude(0.1)
    # Weights belong to the muscles 1, 0, 4.
    actions = synergies.expand(th.tensor([[0.5, -0.95]]), th.tensor([[-1.0, 1.0, 0.5]]))
    th.testing.assert_close(actions, th.tensor([[-1.0, 0.45, -0.95, 0.5, -0.95 * 1.05]]))


def test_the_amplitude_grows_with_the_steps() -> None:
    assert [amplitude(n, 5e-8, 1e6) for n in (0, 1_000_000)] == [0.0, 0.0]
    assert amplitude(2_000_000, 5e-8, 1e6) == pytest.approx(0.05)
    assert amplitude(3_000_000, 5e-8, 1e6) == pytest.approx(0.1)
    assert amplitude(10**9, 5e-8, 1e6) == 0.1


def test_noise_of_weights_is_a_squashed_gaussian() -> None:
    synergies = Synergies([[0, 1]], 0.5)
    samples = synergies.corrections(th.full((20_000, 1), 0.3), deterministic=False).atanh()
    assert samples.mean().item() == pytest.approx(0.3, abs=0.05)
    assert samples.std().item() == pytest.approx(np.exp(0.5), rel=0.03)
    th.testing.assert_close(synergies.corrections(th.tensor([[0.3]]), deterministic=True), th.tensor([[0.3]]).tanh())


def test_the_log_probability_is_that_of_the_groups() -> None:
    synergies = Synergies([[0, 2], [1]], 0.5)
    synergies.set_amplitude(0.1)
    mean, log_std = th.tensor([[0.2, -0.3]]), th.tensor([[-1.0, 0.1]])
    actions, log_prob = synergies.act_log_prob(mean, log_std, th.tensor([[5.0]]))
    x = actions[:, :2].double().atanh()
    expected = th.distributions.Normal(mean, log_std.exp()).log_prob(x).sum(1) - (1 - x.tanh() ** 2).log().sum(1)
    th.testing.assert_close(log_prob.double(), expected.double(), atol=1e-4, rtol=0.0)


def learned(cls: type, groups: Any = None, **options: Any) -> Any:
    policy_kwargs: dict[str, Any] = {"net_arch": [16]}
    if groups is not None:
        policy_kwargs["groups"] = groups
    options = {**(FLOW if issubclass(cls, QFlex) else {}), **options}
    return cls("MlpPolicy", BoxEnv(), policy_kwargs=policy_kwargs, **{**SMALL, **options}).learn(60)


@pytest.mark.parametrize(
    ("cls", "plain", "options"),
    [
        (DynSynSAC, SAC, {}),
        (DynSynQFlex, QFlex, {}),
        (DynSynCrossQ, QFlex, {"exploration": "source", "ent_coef": "auto", "policy_delay": 3}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_with_a_group_for_each_muscle_it_is_what_it_stands_on(cls: type, plain: type, options: dict) -> None:
    ours, reference = learned(cls, weight_amp=0.1), learned(plain, **options)
    mine = parameters(ours)
    assert mine.pop("actor.synergies.amplitude").item() == pytest.approx(0.1)
    assert_same(mine, parameters(reference))
    obs = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 3)).astype(np.float32)
    for deterministic in (False, True):
        actions = []
        for model in (ours, reference):
            set_random_seed(0)
            actions.append(model.predict(obs, deterministic=deterministic)[0])
        np.testing.assert_array_equal(*actions)
    tensor = th.as_tensor(obs)
    draws = []
    for model in (ours, reference):
        set_random_seed(0)
        draws.append(model.actor.action_log_prob(tensor))
    for one, other in zip(*draws, strict=True):
        assert th.equal(one, other)


def test_weights_are_trained_once_there_is_an_amplitude() -> None:
    start = parameters(learned(DynSynSAC, [[0, 1]], learning_starts=100))
    closed, open_ = (learned(DynSynSAC, [[0, 1]], weight_amp=a) for a in (None, 0.1))
    for name in ("weight_mean.weight", "weight_mean.bias"):
        assert th.equal(parameters(closed)[f"actor.{name}"], start[f"actor.{name}"])
        assert not th.equal(parameters(open_)[f"actor.{name}"], start[f"actor.{name}"])
    assert not th.equal(parameters(closed)["actor.mu.weight"], start["actor.mu.weight"])
