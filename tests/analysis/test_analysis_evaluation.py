"""Returns, success at the last step and at any, and their intervals."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers.small_models import small_model
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_qflex.analysis.evaluation import Share, evaluate
from sb3_qflex.cli.main import main


class Counter(gym.Env):
    """Episodes of 4 steps, solved while the step is in a set that the seed chooses; reward is the action."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), dtype=np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
    solved = ((2,), (4,), (1, 4), ())

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.kind = 0, (seed or 0) % 4
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.number += 1
        info = {"solved": self.number in self.solved[self.kind]}
        return np.zeros(1, dtype=np.float32), float(action[0]), False, self.number == 4, info


@pytest.mark.parametrize("n_envs", [1, 3])
def test_returns_and_successes(n_envs: int) -> None:
    env = DummyVecEnv([Counter] * n_envs)
    found = evaluate(lambda obs: np.full((n_envs, 1), 0.5), env, episodes=8, seed=0)
    np.testing.assert_allclose(found.returns, np.full(8, 2.0))
    assert found.lengths.tolist() == [4] * 8
    assert (found.at_end, found.at_any_step) == (Share(4, 8), Share(6, 8))
    assert found.rows()["success at the last step"] == "0.50 [0.22, 0.78]"


class AtTheEnd(Counter):
    """SB3's own convention: whether an episode succeeded, told at its last step alone."""

    def step(self, action):
        *step, done, info = super().step(action)
        return *step, done, {"is_success": info["solved"]} if done else {}


def test_a_task_that_tells_of_success_at_the_end_alone() -> None:
    found = evaluate(lambda obs: np.zeros((3, 1)), DummyVecEnv([AtTheEnd] * 3), episodes=8, seed=0)
    assert (found.at_end, found.at_any_step) == (Share(4, 8), Share(4, 8))


def test_a_task_without_success_has_returns() -> None:
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1")])
    found = evaluate(lambda obs: np.zeros((1, 1)), env, episodes=2, seed=0)
    assert found.at_end is None and list(found.rows()) == ["episodes", "return", "standard deviation", "length"]


@pytest.mark.parametrize(
    ("count", "episodes", "expected"),
    # Wilson (1927), e.g. Agresti and Coull (1998): 8 of 10, none of 10, all of 100.
    [(8, 10, (0.4902, 0.9433)), (0, 10, (0.0, 0.2775)), (100, 100, (0.9630, 1.0))],
)
def test_wilson_interval(count: int, episodes: int, expected: tuple[float, float]) -> None:
    assert Share(count, episodes).interval() == pytest.approx(expected, abs=5e-5)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model("PlanarChain-v0").learn(20)
    model.save(tmp_path / "one")
    words = ["evaluate", str(tmp_path / "one.zip"), "--env", "PlanarChain-v0", "--episodes", "3"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "| 3 |" in first and "return" in first
    # The seeds decide everything.
    assert main(words) == 0 and capsys.readouterr().out == first
    with pytest.raises(SystemExit, match="say with --env"):
        main(words[:2])
