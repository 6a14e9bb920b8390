"""How well a policy does its task: return, and success at the last step of an episode and at any."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.analysis.acting import Act
from sb3_qflex.analysis.episodes import run_episodes
from sb3_qflex.envs.action_repeat import SUCCESS

#: Episodes and first seed of an evaluation unless told otherwise.
EPISODES, SEED = 100, 10_000


def with_interval(value_low_high: Sequence[float], digits: str = ".2f") -> str:
    """A value with the ends of its interval, as tables have it."""
    value, low, high = (f"{one:{digits}}" for one in value_low_high)
    return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Share:
    """
    Of how many episodes something held.

    :param count: of those
    :param episodes: of all
    """

    count: int
    episodes: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """
        Wilson's interval of the share, which holds for few episodes and for shares of 0 and 1 too.

        :param level: confidence, between 0 and 1
        :return: its ends, in [0, 1]
        """
        z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
        share, n = self.count / self.episodes, self.episodes
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        return with_interval((self.count / self.episodes, *self.interval()))


@dataclass(frozen=True)
class Evaluation:
    """
    :param returns: of the episodes, (episodes,)
    :param lengths: their steps, (episodes,)
    :param at_end: successes at the last step; None for a task that tells of none
    :param at_any_step: successes at any step; None for a task that tells of none
    """

    returns: np.ndarray
    lengths: np.ndarray
    at_end: Share | None
    at_any_step: Share | None

    def return_interval(self, level: float = 0.95) -> tuple[float, float]:
        """
        Interval of the mean return over episodes, by its standard error; a point for a single episode.

        :param level: confidence, between 0 and 1
        :return: its ends
        """
        n = len(self.returns)
        deviation = float(self.returns.std(ddof=1)) if n > 1 else 0.0
        half = NormalDist().inv_cdf((1 + level) / 2) * deviation / math.sqrt(n)
        return float(self.returns.mean()) - half, float(self.returns.mean()) + half

    def rows(self) -> dict[str, str]:
        """What there is to say, by its name, as text."""
        rows = {
            "episodes": str(len(self.returns)),
            "return": with_interval((float(self.returns.mean()), *self.return_interval()), ".4g"),
            "standard deviation": f"{self.returns.std():.3g}",
            "length": f"{self.lengths.mean():.4g}",
        }
        if self.at_end is not None:
            rows |= {"success at the last step": str(self.at_end), "success at any step": str(self.at_any_step)}
        return rows


def evaluate(act: Act, env: VecEnv, episodes: int, seed: int) -> Evaluation:
    """
    Play episodes with the seeds ``seed`` to ``seed + episodes - 1``, see :func:`run_episodes`.

    :param act: how to act
    :param env: environments with a time limit; the task's success is the first of ``solved`` and ``is_success`` that
        their ``info`` has
    :param episodes: at least 1
    :param seed: seed of the first episode
    """
    played = run_episodes(act, env, episodes, seed, totals=SUCCESS, at_end=SUCCESS)
    told = (key for key in SUCCESS if played[f"{key} at the end"].notna().any() or (played[key] > 0).any())
    key = next(told, None)
    at_end = at_any_step = None
    if key is not None:
        at_end = Share(int(played[f"{key} at the end"].sum()), episodes)  # a last step that tells nothing has none
        at_any_step = Share(int((played[key] > 0).sum()), episodes)
    return Evaluation(played["return"].to_numpy(), played["length"].to_numpy(), at_end, at_any_step)
