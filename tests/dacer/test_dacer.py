"""DACER's own: gradients through the chain, the entropy regulator, and the order of an update."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, observations, parameters

from sb3_qflex import DACER
from sb3_qflex.common.fast.trained_chain import mish
from sb3_qflex.dacer import objectives
from sb3_qflex.dacer.policies import DACERPolicy


def small(env: Any = None, **options: Any) -> DACER:
    policy_kwargs = {"net_arch": [16, 16], **options.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "diffusion_steps": 3, "seed": 0}
    arguments |= {"entropy_samples": 10, "device": "cpu", **options}
    return DACER("MlpPolicy", BoxEnv() if env is None else env, policy_kwargs=policy_kwargs, **arguments)


def chain_loss(policy: DACERPolicy, features: th.Tensor, noise: th.Tensor, plain: bool = False) -> th.Tensor:
    eps_hat = policy.actor.at(features) if plain else policy.noise_at(policy.actor, features, 1)
    return policy.chain(eps_hat, noise).sin().sum()


@pytest.fixture
def chain() -> tuple[DACERPolicy, th.Tensor, th.Tensor]:
    """A policy in float64 with weights x 0.1, three steps, five states, and fixed noise."""
    policy = small().policy.double()
    generator = th.Generator().manual_seed(0)
    with th.no_grad():
        for parameter in policy.actor.parameters():
            parameter.mul_(0.1)
    features = th.rand(5, 3, generator=generator, dtype=th.float64)
    return policy, features, 0.3 * th.randn(3, 5, 2, generator=generator, dtype=th.float64)


def test_gradient_through_the_chain_is_that_of_finite_differences(chain: Any) -> None:
    policy, features, noise = chain
    found = th.autograd.grad(chain_loss(policy, features, noise), list(policy.actor.parameters()))
    for parameter, gradient in zip(policy.actor.parameters(), found, strict=True):
        for index in (0, parameter.numel() // 2, parameter.numel() - 1):
            sides = []
            for step in (1e-6, -1e-6):
                with th.no_grad():
                    parameter.view(-1)[index] += step
                    sides.append(chain_loss(policy, features, noise).item())
                    parameter.view(-1)[index] -= step
            assert gradient.flatten()[index].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5, abs=1e-8)
    assert all(gradient.abs().max() > 0.0 for gradient in found)


@pytest.mark.parametrize("activation", [th.nn.Mish, th.nn.ReLU])
def test_fast_form_of_the_chain_equals_the_plain_one(activation: Any) -> None:
    policy = small(policy_kwargs={"activation_fn": activation}).policy
    features, noise = th.rand(5, 3), th.randn(3, 5, 2)
    losses = [chain_loss(policy, features, noise, plain) for plain in (False, True)]
    th.testing.assert_close(*losses)
    gradients = [th.autograd.grad(loss, list(policy.actor.parameters())) for loss in losses]
    th.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    obs, actions = th.rand(5, 3), th.rand(5, 2, requires_grad=True)
    means, stds = policy.critic.returns(obs, actions)
    plain = th.stack([net(th.cat([obs, actions], dim=1)) for net in policy.critic.q_networks])
    th.testing.assert_close(means, plain[..., 0])
    th.testing.assert_close(stds, th.nn.functional.softplus(plain[..., 1]))
    wanted = [actions, *policy.critic.parameters()]
    fast, slow = (th.autograd.grad(x.square().sum(), wanted) for x in (th.stack([means, stds.expm1().log()]), plain))
    th.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-4)


def test_mish_and_its_slope() -> None:
    x = th.tensor([-200.0, -30.0, -3.0, -0.1, 0.0, 0.1, 3.0, 19.9, 20.1, 200.0], requires_grad=True)
    expected = th.nn.functional.mish(x)
    (slope,) = th.autograd.grad(expected.sum(), x)
    th.testing.assert_close(mish(x.detach()), (expected.detach(), slope), rtol=1e-5, atol=1e-5)


def test_noise_regulator_goes_towards_the_target_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    for entropy, falls in ((10.0, True), (-10.0, False)):
        model = small(alpha_delay=1, learning_starts=50).learn(50)
        monkeypatch.setattr(DACER, "estimate_entropy", lambda *_, entropy=entropy: th.tensor(entropy))
        alphas = [model.temperature.alpha().item()]
        for _ in range(3):
            model.train(1, batch_size=8)
            alphas.append(model.temperature.alpha().item())
        assert alphas[0] == pytest.approx(3.0)
        assert alphas == sorted(alphas, reverse=falls) and len(set(alphas)) == 4
        assert alphas[1] == pytest.approx(3.0 * np.exp(-0.03 if falls else 0.03), rel=1e-4)
        assert model.entropy == entropy


def test_entropy_is_that_of_executed_actions() -> None:
    # A chain that ends at 0 exactly, with noise of 0.1 x 3: its entropy is the noise's.
    model = small(entropy_samples=4000)
    with th.no_grad():
        for parameter in model.actor.parameters():
            parameter.zero_()
    model.policy.chain = lambda eps_hat, noise: th.zeros_like(noise[0])  # type: ignore[method-assign]
    exact = 2 * (0.5 * (1.0 + np.log(2.0 * np.pi)) + np.log(0.3))
    obs = th.zeros(4, 3)
    model.entropy_estimator = "diag"
    assert model.estimate_entropy(obs).item() == pytest.approx(exact, abs=0.05)
    model.entropy_estimator = "gmm"
    assert exact - 0.05 <= model.estimate_entropy(obs).item() <= exact + np.log(3.0)


def test_mean_action_of_a_bandit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(
        BoxEnv(action_space=spaces.Box(-1.0, 1.0, (1,), np.float32)),
        learning_rate=1e-3, noise_scale=0.0, diffusion_steps=5,
    )  # fmt: skip
    monkeypatch.setattr(DACERPolicy, "min_q", lambda _, obs, actions: -(actions - 0.5).square().sum(dim=1))
    obs = th.zeros(64, 3)
    for _ in range(600):
        model.update_policy(obs)
    assert model.policy.explore(th.zeros(1000, 3)).mean().item() == pytest.approx(0.5, abs=0.02)


def test_what_an_update_moves_depends_on_its_number() -> None:
    model = small(learning_starts=50, alpha_delay=4).learn(50)
    moved = []
    for _ in range(5):
        start = parameters(model)
        model.train(1, batch_size=8)
        after = parameters(model)
        moved.append({name.partition(".")[0] for name, value in after.items() if not th.equal(value, start[name])})
    policies = {"critic", "actor", "critic_target"}
    assert moved == [policies | {"temperature"}, {"critic"}, policies, {"critic"}, policies | {"temperature"}]


def test_policy_and_critics_see_each_other_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(learning_starts=50).learn(50)
    start, seen = parameters(model), []
    for name in ("critic_objective", "actor_objective"):
        original = getattr(objectives, name)

        def watching(*args: Any, original: Any = original) -> Any:
            seen.append({n: v for n, v in parameters(model).items() if n.startswith(("actor.", "critic.q"))})
            return original(*args)

        monkeypatch.setattr(f"sb3_qflex.dacer.dacer.{name}", watching)
    model.train(1, batch_size=8)
    assert len(seen) == 2
    for weights in seen:
        assert all(th.equal(value, start[name]) for name, value in weights.items())


def test_running_deviations_begin_with_the_first_batch() -> None:
    critic = small().critic
    assert critic.mean_stds.tolist() == [0.0, 0.0]
    critic.update_mean_stds(th.tensor([[1.0, 3.0], [2.0, 2.0]]), 0.005)
    assert critic.mean_stds.tolist() == [2.0, 2.0]
    critic.update_mean_stds(th.tensor([[4.0, 4.0], [0.0, 0.0]]), 0.5)
    assert critic.mean_stds.tolist() == [3.0, 1.0]
    critic.update_mean_stds(th.full((2, 2), th.nan), 0.5)
    assert critic.mean_stds.tolist() == [3.0, 1.0]


def test_gradient_is_clipped_where_asked_for() -> None:
    norms = {}
    for max_norm in (None, 1e-3):
        model = small(max_grad_norm=max_norm).learn(40)
        model.update_policy(th.as_tensor(observations(model)))
        norms[max_norm] = th.nn.utils.get_total_norm([p.grad for p in model.actor.parameters()]).item()
    assert norms[None] > 2e-3 and norms[1e-3] == pytest.approx(1e-3, rel=1e-2)


def test_the_actors_learning_rate_takes_its_course() -> None:
    def rates(**options: Any) -> list[float]:
        model = small(learning_starts=50, policy_delay=1, policy_lr_begin=1, policy_lr_steps=2, **options).learn(50)
        found = []
        for _ in range(4):
            model.train(1, batch_size=8)
            found.append(model.actor.optimizer.param_groups[0]["lr"])
        return found

    assert rates() == [1e-4] * 4
    assert rates(preset="qflex") == pytest.approx([3e-4, 3e-4, 1.65e-4, 3e-5])


def test_presets_fill_what_is_left_open() -> None:
    def filled(**options: Any) -> tuple[Any, ...]:
        model = small(**options)
        return (model.learning_rate, model.beta_schedule, model.beta_scale, model.start_scale, model.policy_lr_end)

    assert filled() == (1e-4, "vp", 1.0, 1.0, None)
    assert filled(preset="qflex") == (3e-4, "linear", 0.3, 0.5, 3e-5)
    assert filled(preset="qflex", learning_rate=1e-3, start_scale=2.0) == (1e-3, "linear", 0.3, 2.0, 3e-5)


def test_a_preset_of_load_replaces_what_it_stands_for(tmp_path: Path) -> None:
    small(start_scale=2.0).save(tmp_path / "model")
    model = DACER.load(tmp_path / "model", device="cpu", preset="qflex", beta_scale=0.4)
    policy = model.policy
    assert (model.preset, model.lr_schedule(1.0), model.policy_lr_end) == ("qflex", 3e-4, 3e-5)
    assert (policy.beta_schedule, policy.beta_scale, policy.start_scale) == ("linear", 0.4, 0.5)
    assert DACER.load(tmp_path / "model", device="cpu").policy.start_scale == 2.0


def test_many_actuators_get_the_estimate_by_coordinates_with_a_warning() -> None:
    env = BoxEnv(action_space=spaces.Box(-1.0, 1.0, (80,), np.float32))
    with pytest.warns(UserWarning, match="80 actuators are more than the 32"):
        assert small(env).entropy_estimator == "diag"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert small(env, entropy_estimator="diag").learn(30).entropy is not None
        assert small().entropy_estimator == "gmm"


def test_start_scale_and_alpha_act_from_their_assignment_on() -> None:
    model = small(noise_scale=0.0)
    obs = observations(model)
    before = model.predict(obs, deterministic=True)[0]
    model.start_scale, model.init_alpha = 0.1, 2.0
    assert not np.array_equal(model.predict(obs, deterministic=True)[0], before)
    assert model.temperature.alpha().item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper"}, "preset='paper' is unknown.* Choose one of official, qflex"),
        ({"diffusion_steps": 0}, "diffusion_steps must be an integer of at least 1, not 0"),
        ({"beta_schedule": "cosin"}, "beta_schedule='cosin' is unknown, did you mean 'cosine'"),
        ({"start_scale": 0.0}, "start_scale must be a number"),
        ({"noise_scale": -1.0}, "noise_scale must be a number"),
        ({"init_alpha": 0.0}, r"init_alpha must be a number in \(0, inf\), not 0.0"),
        ({"alpha_delay": 0}, "alpha_delay must be an integer of at least 1"),
        ({"entropy_samples": 1}, "entropy_samples must be an integer of at least 2, not 1"),
        ({"entropy_components": 20}, "entropy_components=20 .* entropy_samples=10"),
        ({"entropy_estimator": "gm"}, "entropy_estimator='gm' is unknown, did you mean 'gmm'"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a number"),
        ({"reward_scale": 0.0}, "reward_scale must be a number"),
        ({"policy_kwargs": {"noise_scale": 1.0}}, "Pass noise_scale to DACER itself"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(("name", "value"), [("entropy_samples", 2), ("entropy_components", 11)])
def test_samples_and_components_that_do_not_fit_are_refused_at_assignment(name: str, value: int) -> None:
    model = small()
    with pytest.raises(ValueError, match="cannot be fitted to entropy_samples"):
        setattr(model, name, value)
    assert (model.entropy_samples, model.entropy_components) == (10, 3)
