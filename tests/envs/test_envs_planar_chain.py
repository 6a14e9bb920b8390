"""The planar chain: geometry worked out by hand, and the vectorised form against single environments."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from sb3_qflex.envs import PlanarChain, PlanarChainVecEnv


def test_two_links_at_a_right_angle():
    env = PlanarChain(n_links=2)
    observation, _ = env.reset(seed=0, options={"angles": [0.0, np.pi / 2], "target": [0.5, 0.1]})
    # Links of length 1/2 along x and then along y end in (0.5, 0.5), 0.4 above the target.
    np.testing.assert_allclose(observation, [0.5, 0.5, 0.5, 0.1], atol=1e-7)
    # At rest the second link points back along the first one; an action of -1 turns it upright.
    observation, reward, terminated, truncated, info = env.step(np.array([0, -1], dtype=np.float32))
    np.testing.assert_allclose(observation, [0.5, 0.5, 0.5, 0.1], atol=1e-7)
    assert reward == pytest.approx(1 - 0.4 / np.sqrt(0.26))
    assert (terminated, truncated, info["is_success"]) == (False, False, False)


@pytest.mark.parametrize("n_links", [2, 3, 100])
def test_a_chain_at_rest_is_a_ring_and_earns_nothing(n_links):
    env = PlanarChain(n_links=n_links)
    start = env.reset(seed=0)[0]
    observation, reward, *_ = env.step(np.zeros(n_links, dtype=np.float32))
    np.testing.assert_allclose([start[:2], observation[:2]], 0.0, atol=1e-7)
    assert reward == pytest.approx(0.0)


def test_a_full_action_turns_a_link_by_a_quarter_and_is_forgotten_with_the_next_one():
    env = PlanarChain(n_links=4)
    env.reset(seed=0, options={"angles": [0.0, 1.0, 2.0, 3.0]})
    for _ in range(2):
        env.step(np.array([1.0, -1.0, 0.5, 2.0], dtype=np.float32))
        np.testing.assert_allclose(env.angles / np.pi, [0.5, 0.0, 1.25, 2.0])


def test_success_is_a_tip_within_five_hundredths():
    env = PlanarChain(n_links=1)
    for radius, success in ((0.96, True), (0.94, False)):
        env.reset(seed=0, options={"target": [radius, 0.0]})
        _, reward, *_, info = env.step(np.zeros(1, dtype=np.float32))
        assert info["is_success"] is success
        assert info["distance"] == pytest.approx(1.0 - radius)
        assert reward == pytest.approx(1 - (1 - radius) / radius)


@pytest.mark.parametrize("n_links", [10, 1000])
def test_independent_noise_moves_the_tip_with_variance_of_one_over_n(n_links):
    env = PlanarChain(n_links=n_links)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    tips = [env.step(rng.uniform(-1, 1, n_links).astype(np.float32))[0][:2] for _ in range(3000)]
    # For α uniform in ±π/2: E cos α = 2/π, so a unit vector turned by α has the variance 1 - 4/π² about its mean.
    assert np.var(tips, axis=0).sum() == pytest.approx((1 - 4 / np.pi**2) / n_links, rel=0.1)
    assert np.abs(np.mean(tips, axis=0)).max() < 0.1 / np.sqrt(n_links)


def test_targets_lie_around_the_base():
    env = PlanarChain(n_links=5)
    targets = np.array([env.reset(seed=seed)[0][2:] for seed in range(200)])
    radii = np.linalg.norm(targets, axis=1)
    assert 0.3 <= radii.min() < 0.32 and 0.68 < radii.max() <= 0.7
    assert {(x > 0, y > 0) for x, y in targets} == {(a, b) for a in (False, True) for b in (False, True)}


@pytest.mark.parametrize("n_links", [10, 100, 700])
def test_every_target_can_be_reached(n_links):
    env = PlanarChain(n_links=n_links)
    for seed in range(20):
        env.reset(seed=seed)
        action = np.zeros(n_links, dtype=np.float32)
        for _ in range(200):
            *_, info = env.step(action)
            # Up the gradient of minus the squared distance.
            sideways = np.stack([-np.sin(env.angles), np.cos(env.angles)])
            tip = np.array([np.cos(env.angles).mean(), np.sin(env.angles).mean()])
            action = (action + (env.target - tip) @ sideways).clip(-1, 1).astype(np.float32)
        assert info["is_success"], (seed, info)


def test_registered_episode_is_truncated_after_fifty_steps():
    env = gym.make("PlanarChain-v0", n_links=4)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


@pytest.mark.parametrize("n_links", [0, -1, 2.5, "3", True])
def test_number_of_links_is_checked(n_links):
    with pytest.raises(ValueError, match="positive integer number of links"):
        PlanarChain(n_links=n_links)
    with pytest.raises(ValueError, match="positive integer number of links"):
        PlanarChainVecEnv(2, n_links=n_links)


@pytest.mark.parametrize("action", [[np.nan, 0.0], [0.0], [np.inf, 0.0]])
def test_bad_actions_are_refused(action):
    env = PlanarChain(n_links=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="2 finite numbers"):
        env.step(np.array(action, dtype=np.float32))


@pytest.mark.parametrize(
    "options", [{"angle": [0.0]}, {"angles": [0.0]}, {"target": [np.nan, 0.0]}, {"target": [0, 0]}]
)
def test_bad_reset_options_are_refused(options):
    with pytest.raises(ValueError, match="reset option"):
        PlanarChain(n_links=2).reset(options=options)


def test_picture_shows_chain_and_target():
    env = PlanarChain(n_links=20, render_mode="rgb_array")
    env.reset(seed=0, options={"angles": np.zeros(20), "target": [-0.5, 0.0]})
    picture = env.render()
    assert picture.shape == (240, 240, 3)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 100)
    dark = picture.sum(axis=-1) < 200
    # The target is left of the middle, the chain right of it.
    assert red[:, :120].any() and not red[:, 120:].any()
    assert dark[:, 125:].sum() > 100 and not dark[:, :115].any()


def test_vectorised_form_equals_single_environments_over_two_episodes():
    single = DummyVecEnv([lambda: gym.make("PlanarChain-v0", n_links=6) for _ in range(3)])
    vectorised = PlanarChainVecEnv(3, n_links=6)
    single.seed(5)
    vectorised.seed(5)
    np.testing.assert_array_equal(single.reset(), vectorised.reset())
    rng = np.random.default_rng(0)
    for _ in range(101):
        actions = rng.uniform(-1.2, 1.2, (3, 6)).astype(np.float32)
        expected, got = single.step(actions), vectorised.step(actions)
        for theirs, ours in zip(expected[:3], got[:3], strict=True):
            np.testing.assert_array_equal(theirs, ours)
        for theirs, ours in zip(expected[3], got[3], strict=True):
            assert theirs.keys() == ours.keys()
            for key in theirs:
                np.testing.assert_array_equal(theirs[key], ours[key])


def test_vectorised_form_keeps_hundreds_of_copies_apart():
    env = VecMonitor(PlanarChainVecEnv(300, n_links=8))
    env.seed(0)
    first = env.reset()
    assert first.shape == (300, 4) and first.dtype == np.float32
    assert len(np.unique(first[:, -1])) == 300
    actions = np.random.default_rng(0).uniform(-1, 1, (300, 8)).astype(np.float32)
    for _ in range(50):
        _, rewards, dones, infos = env.step(actions)
    assert dones.all() and len(np.unique(rewards)) == 300
    # The same action earns the same reward in each of the 50 steps.
    np.testing.assert_allclose([info["episode"]["r"] for info in infos], 50 * rewards, rtol=1e-4, atol=1e-4)


def test_vectorised_form_refuses_bad_arguments():
    with pytest.raises(ValueError, match="num_envs=0"):
        PlanarChainVecEnv(0)
    env = PlanarChainVecEnv(2, n_links=3)
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        env.step(np.zeros((3, 3)))
    env.set_options({"target": [0.0, 0.0]})
    with pytest.raises(ValueError, match="takes no reset options"):
        env.reset()
