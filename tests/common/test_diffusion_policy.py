"""What policies that act by chains have in common."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import ConstantSchedule
from torch import nn

from sb3_qflex.common import options
from sb3_qflex.common.diffusion import posterior_chain
from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.common.losses import smallest

STATES, BOX = spaces.Box(-1.0, 1.0, (4,), np.float32), spaces.Box(-2.0, 1.0, (3,), np.float32)
OBSERVATIONS = np.random.default_rng(0).uniform(-1.0, 1.0, (70, 4)).astype(np.float32)


class Chain(DiffusionPolicyBase):
    followed = ("critic", "actor")

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        options.check_options(self)

    def exploration_std(self) -> float:
        return 0.5


def policy(**arguments) -> Chain:
    th.manual_seed(0)
    return Chain(STATES, BOX, ConstantSchedule(1e-3), **{"net_arch": [16, 16], "diffusion_steps": 4, **arguments})


@pytest.mark.parametrize("n_particles", [1, 32])
def test_deterministic_actions_are_functions_of_the_observation_alone(n_particles: int) -> None:
    chain = policy(n_particles=n_particles)
    actions = chain.predict(OBSERVATIONS, deterministic=True)[0]
    th.manual_seed(5)
    for i in (0, 33, 69):
        np.testing.assert_allclose(chain.predict(OBSERVATIONS[i], deterministic=True)[0], actions[i], atol=1e-5)
    assert np.ptp(actions, axis=0).max() > 0
    first, second = (chain.predict(OBSERVATIONS)[0] for _ in range(2))
    assert (first != second).any() and (first >= BOX.low).all() and (first <= BOX.high).all()


def test_actions_stay_in_the_box_with_any_weights() -> None:
    chain = policy(n_particles=2)
    with th.no_grad():
        for parameter in chain.actor_target.parameters():
            parameter.mul_(100.0)
    for deterministic in (True, False):
        actions = chain.predict(OBSERVATIONS, deterministic=deterministic)[0]
        assert (actions >= BOX.low).all() and (actions <= BOX.high).all()


@pytest.mark.parametrize("activation_fn", [nn.Mish, nn.Tanh])  # with and without a fast form
def test_sampling_is_the_chain_and_the_best_particle(activation_fn: type[nn.Module]) -> None:
    chain = policy(n_particles=8, activation_fn=activation_fn)
    obs, noise = th.as_tensor(OBSERVATIONS), th.randn(4, 70, 8, 3)
    particles = []
    with th.no_grad():
        for i in range(8):
            particles.append(posterior_chain(chain.actor.at(obs), noise[:, :, i], chain.schedule))
        values = th.stack([smallest(chain.critic.q_values(obs, one)) for one in particles], dim=1)
    th.testing.assert_close(chain.values(obs, th.stack(particles, dim=1)), values)
    best = th.stack(particles, dim=1)[th.arange(70), values.argmax(dim=1)]
    th.testing.assert_close(chain.sample(obs, noise=noise), best)


def test_one_particle_asks_no_critic() -> None:
    chain = policy()
    chain.critic = None  # type: ignore[assignment]
    assert chain.sample(th.as_tensor(OBSERVATIONS)).shape == (70, 3)


def test_the_slow_copies_follow_and_act() -> None:
    chain = policy(n_particles=2)
    before = chain.predict(OBSERVATIONS, deterministic=True)[0]
    with th.no_grad():
        for network in (chain.actor, chain.critic):
            for parameter in network.parameters():
                parameter.add_(1.0)
    start = {name: value.clone() for name, value in chain.actor_target.named_parameters()}
    chain.follow(0.25)
    for name, value in chain.actor_target.named_parameters():
        th.testing.assert_close(value, start[name] + 0.25)
    assert (chain.predict(OBSERVATIONS, deterministic=True)[0] != before).any()
    assert not any(parameter.requires_grad for parameter in chain.critic_target.parameters())


def test_options_act_from_their_assignment_on() -> None:
    chain = policy()
    chain.diffusion_steps = 6
    assert chain.schedule.n_steps == 6
    chain.n_particles = 3
    assert chain.fixed_noise().shape == (6, 1, 3, 3)
    assert chain.predict(OBSERVATIONS, deterministic=True)[0].shape == (70, 3)
    with pytest.raises(ValueError, match="beta_schedule='cosin' is unknown, did you mean 'cosine'"):
        chain.beta_schedule = "cosin"
    with pytest.raises(ValueError, match="n_particles must be an integer of at least 1, not 0"):
        policy(n_particles=0)
    with pytest.raises(ValueError, match="beta_scale must be a number"):
        policy(beta_scale=2.0)


def test_a_preset_fills_what_was_left_at_none() -> None:
    presets = {"official": {"rate": 7e-3, "steps": 20}, "qflex": {"rate": 3e-4, "steps": 20}}
    assert options.with_preset(presets, "qflex", {"rate": None, "steps": 5}) == {"rate": 3e-4, "steps": 5}
    with pytest.raises(ValueError, match="preset='oficial' is unknown, did you mean 'official'"):
        options.with_preset(presets, "oficial", {})
