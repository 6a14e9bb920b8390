"""QSM's own: what its variants learn, fill in and refuse."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.small_diffusion import small_diffusion
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_qflex import QSM
from sb3_qflex.common.action_gradient import action_gradient
from sb3_qflex.common.diffusion import NoiseSchedule, best_of, betas, score_chain
from sb3_qflex.qsm.networks import FourierTime
from sb3_qflex.qsm.objectives import actor_objective
from sb3_qflex.qsm.policies import QSMPolicy
from sb3_qflex.qsm.score_matching import langevin, mean_of_critics

small = small_diffusion


def two_modes(actions: th.Tensor) -> th.Tensor:
    """Q = 5 (exp(-(a - 0.6)^2 / 0.02) + exp(-(a + 0.6)^2 / 0.02)) of one critic, shape (1, B)."""
    return 5.0 * sum(th.exp(-(actions - mode).square() / 0.02) for mode in (0.6, -0.6)).t()  # type: ignore[union-attr]


def two_modes_gradient(actions: th.Tensor) -> th.Tensor:
    return action_gradient(two_modes, actions, mean_of_critics)


def test_the_schedule_is_the_papers() -> None:
    assert betas("vp", 5) == pytest.approx([0.195875, 0.458819, 0.635781, 0.754878, 0.835031], abs=1e-6)
    schedule = small(QSM, diffusion_steps=5).policy.schedule
    assert schedule.beta.tolist() == pytest.approx(betas("vp", 5))


def test_what_one_step_of_the_chain_makes_of_a_gradient() -> None:
    # A chain of zeros has no noise and no clipping: what is left is M_q g times a factor of each step.
    schedule = NoiseSchedule("vp", 5)
    moves = []
    for step in range(5):
        eps = th.full((1, 1), -0.1)
        beta, abar = schedule.steps[step]["beta"], schedule.steps[step]["abar"]
        moves.append((-beta / (1.0 - abar) ** 0.5 * eps / (1.0 - beta) ** 0.5).item() / 0.1)
    assert moves == pytest.approx([0.494, 0.830, 1.148, 1.555, 2.063], abs=1e-3)
    policy = small(QSM, diffusion_steps=5).policy
    end = policy.chain(lambda x, t: th.full_like(x, -0.1 if t == 0 else 0.0), th.zeros(5, 1, 1))
    assert end.item() == pytest.approx(0.0494, abs=1e-4)


def test_both_modes_of_a_bandit_are_played() -> None:
    generator = th.Generator().manual_seed(0)
    particles = langevin(two_modes_gradient, th.randn(21, 32_000, 1, generator=generator)).view(1000, 32, 1)
    chosen = best_of(particles, two_modes(particles.flatten(0, 1)).view(1000, 32)).flatten()
    assert 0.4 < (chosen > 0).float().mean() < 0.6
    assert ((chosen.abs() - 0.6).abs() < 0.1).float().mean() > 0.9
    schedule, noise = NoiseSchedule("vp", 5), th.randn(5, 1000, 1, generator=generator)
    ends = score_chain(lambda x, _: -0.01 * two_modes_gradient(x), noise, schedule).flatten()
    assert 0.4 < (ends > 0).float().mean() < 0.6
    assert (ends.abs() < 0.2).float().mean() < 0.08


def test_a_score_recovers_the_gradient_of_a_bilinear_q(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(QSM, variant="langevin", learning_rate=3e-3, policy_kwargs={"net_arch": [64]})
    # Q = s_1 a_1 + s_2 a_2, whose gradient by the action is the state.
    monkeypatch.setattr(QSMPolicy, "q_gradient", lambda _, obs, actions: obs[:, :2])
    generator = th.Generator().manual_seed(0)

    def batch(n: int) -> Any:
        states, actions = th.rand(2, n, 3, generator=generator) * 2.0 - 1.0
        return ReplayBufferSamples(states, actions[:, :2], states, *th.zeros(2, n, 1))

    for _ in range(600):
        model.minimise(model.actor.optimizer, actor_objective(model.policy, batch(128), 1.0), "actor")
    fresh = batch(1000)
    with th.no_grad():
        score = model.actor(fresh.observations, fresh.actions, th.zeros(1000))
    error = (score - fresh.observations[:, :2]).square().mean().sqrt()
    assert error < 0.05 * fresh.observations[:, :2].square().mean().sqrt()


@pytest.mark.parametrize("variant", ["ddpm", "langevin"])
def test_folded_gradients_equal_the_definition(variant: str) -> None:
    model = small(QSM, variant=variant).learn(40)
    batch = model.replay_buffer.sample(8)
    folded = model.policy.q_gradient(batch.observations, batch.actions)
    # Hooks call for the plain form.
    handle = model.critic.q_networks[0][0].register_forward_hook(lambda *_: None)
    plain = model.policy.q_gradient(batch.observations, batch.actions)
    handle.remove()
    th.testing.assert_close(folded, plain)
    mean = action_gradient(lambda a: model.critic.q_values(batch.observations, a), batch.actions, mean_of_critics)
    assert th.allclose(folded, mean) == (variant == "ddpm")


def test_the_actor_learns_with_the_critics_behind_their_step() -> None:
    model = small(QSM, variant="langevin", n_particles=1, learning_starts=50).learn(50)
    seen = []
    original = QSMPolicy.q_gradient

    class Policy(QSMPolicy):
        def q_gradient(self, obs: Any, actions: th.Tensor) -> th.Tensor:
            seen.append(self.critic.q_networks[0][0].weight.detach().clone())
            return original(self, obs, actions)

    model.policy.__class__ = Policy
    start = model.critic.q_networks[0][0].weight.detach().clone()
    model.train(1, batch_size=8)
    assert th.equal(seen[0], model.critic.q_networks[0][0].weight) and not th.equal(seen[0], start)


def test_embedding_of_time() -> None:
    time = FourierTime(4, th.nn.Mish)
    with th.no_grad():
        time.frequencies.copy_(th.tensor([0.25, 0.5]))
    inputs: list[th.Tensor] = []
    time.net[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    assert time(th.tensor([1, 2])).shape == (2, time.dim) == (2, 8)
    # cos and sin of a quarter and a half turn, then of a half and a whole one.
    assert inputs[0].flatten().tolist() == pytest.approx([0.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 0.0], abs=1e-6)


def test_presets_and_variants_fill_what_is_left_open() -> None:
    def filled(**options: Any) -> tuple[Any, ...]:
        model = QSM("MlpPolicy", "Pendulum-v1", device="cpu", **options)
        widths = [layer.out_features for layer in model.actor.net if isinstance(layer, th.nn.Linear)]
        return (model.variant, model.diffusion_steps, model.n_particles, model.action_noise_std, model.policy_lr_end,
                model.policy_lr_begin, model.actor_lr_decay_steps, widths)  # fmt: skip

    official = ("ddpm", 5, 1, 0.1, 0.0, 0, 2_000_000, [512, 512, 1])
    comparison = ("langevin", 20, 32, 0.0, 3e-5, 25_000, 50_000, [256, 256, 256, 1])
    assert filled() == filled(preset="qflex", variant="ddpm") == official
    assert filled(preset="qflex") == filled(variant="langevin") == comparison
    assert filled(preset="qflex", n_particles=2, policy_kwargs={"net_arch": [8]}) == (
        *comparison[:2], 2, *comparison[3:7], [8, 1],
    )  # fmt: skip


@pytest.mark.parametrize("change", [{"preset": "qflex"}, {"variant": "langevin"}, {"time_dim": 8}], ids=str)
def test_what_says_which_networks_there_are_is_refused_by_load(change: dict[str, Any], tmp_path: Path) -> None:
    model = small_diffusion(QSM)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=rf"QSM\.load cannot take {next(iter(change))}, .* make a new model"):
        QSM.load(tmp_path / "model", device="cpu", **change)
    with pytest.raises(ValueError, match="preset='qflex' would change nothing"):
        model.preset = "qflex"


def test_the_actors_learning_rate_takes_its_course() -> None:
    def rates(variant: str, **options: Any) -> list[float]:
        given = {"learning_rate": 1e-3, "policy_lr_begin": 1, "actor_lr_decay_steps": 4, **options}
        model = small(QSM, variant=variant, learning_starts=50, **given).learn(50)
        found = []
        for _ in range(7):
            model.train(1, batch_size=8)
            found.append(model.actor.optimizer.param_groups[0]["lr"])
            assert model.critic.optimizer.param_groups[0]["lr"] == 1e-3
        return found

    assert rates("langevin", policy_lr_end=2e-4) == pytest.approx([1e-3, 1e-3, 8e-4, 6e-4, 4e-4, 2e-4, 2e-4])
    cosine = [0.5 * (1.0 + math.cos(math.pi * n / 4)) for n in (0, 0, 1, 2, 3, 4, 4)]
    assert rates("ddpm") == pytest.approx([1e-3 * one for one in cosine])


def test_options_act_from_their_assignment_on() -> None:
    model = small(QSM, variant="langevin")
    model.n_particles, model.diffusion_steps = 5, 7
    assert model.policy.fixed_noise().shape == (8, 1, 5, 2)
    assert model.predict(np.zeros(3, np.float32))[0].shape == (2,)
    for name, value in (("variant", "ddpm"), ("time_dim", 8)):
        with pytest.raises(ValueError, match=f"{name} cannot change from .*Make a new model"):
            setattr(model, name, value)
    assert model.variant == "langevin"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper"}, "preset='paper' is unknown.* Choose one of official, qflex"),
        ({"variant": "langevn"}, "variant='langevn' is unknown, did you mean 'langevin'"),
        ({"n_particles": 0}, "n_particles must be an integer of at least 1, not 0"),
        ({"diffusion_steps": 0}, "diffusion_steps must be an integer of at least 1, not 0"),
        ({"action_noise_std": -0.1}, "action_noise_std must be a number"),
        ({"q_grad_scale": 0.0}, "q_grad_scale must be a number"),
        ({"time_dim": 7}, "time_dim must be even, as many cosines as sines, not 7"),
        ({"actor_lr_decay_steps": 0}, "actor_lr_decay_steps must be an integer of at least 1"),
        ({"tau": 2.0}, r"tau must be a number in \[0, 1\], not 2.0"),
        ({"policy_kwargs": {"variant": "ddpm"}}, "Pass variant to QSM itself"),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(QSM, **options)
    with pytest.raises(TypeError, match="did you mean 'q_grad_scale'"):
        small(QSM, q_gradscale=1.0)
