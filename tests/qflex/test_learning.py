"""QFlex learns: minutes of training, not part of the fast tests."""

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_qflex import QFlex

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1])
def test_pendulum(seed):
    model = QFlex(
        "MlpPolicy",
        make_vec_env("Pendulum-v1", 1, seed=seed),
        learning_rate=1e-3,
        learning_starts=500,
        batch_size=64,
        policy_kwargs={"net_arch": [64, 64]},
        flow_steps=5,
        guidance_steps=5,
        seed=seed,
        device="cpu",
    ).learn(8_000)
    mean, _ = evaluate_policy(model, make_vec_env("Pendulum-v1", 5, seed=1000 + seed), n_eval_episodes=20)
    assert mean >= -200.0


def permutation_p_value(better: np.ndarray, worse: np.ndarray, n_permutations: int = 10_000) -> float:
    """One-sided p-value of the difference of means."""
    generator = np.random.default_rng(0)
    both = np.concatenate([better, worse])
    observed = better.mean() - worse.mean()
    differences = []
    for _ in range(n_permutations):
        generator.shuffle(both)
        differences.append(both[: len(better)].mean() - both[len(better) :].mean())
    return (1 + np.sum(np.array(differences) >= observed)) / (1 + n_permutations)


@pytest.mark.filterwarnings("ignore")
def test_pen_twirl_beats_random_actions():
    pytest.importorskip("myosuite", reason="MyoSuite is not installed")
    # Most episodes still earn what random actions do and some earn hundreds: forty may hold too few of these.
    n_envs, n_episodes = 40, 400
    env = make_vec_env("myoHandPenTwirlRandom-v0", n_envs, seed=0)
    model = QFlex(
        "MlpPolicy",
        env,
        learning_starts=5_000,
        policy_kwargs={"net_arch": [256, 256]},
        stats_window_size=n_episodes,
        seed=0,
        device="cpu",
    )

    def training_returns(steps: int) -> np.ndarray:
        """Of the last episodes that ended in so many more steps."""
        model.learn(steps, reset_num_timesteps=False, log_interval=10_000)
        return np.array([episode["r"] for episode in model.ep_info_buffer])

    random_returns = training_returns(5_000)
    assert model._n_updates == 0 and len(random_returns) > 100
    trained_returns = training_returns(75_000)
    assert len(trained_returns) == n_episodes
    assert permutation_p_value(trained_returns, random_returns) < 0.01
