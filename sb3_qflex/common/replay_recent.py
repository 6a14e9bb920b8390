"""
Replay buffers that draw recent transitions more often.

A row is what one vector step stored, and its age the number of rows stored after it: 0 for the newest. Only the age is
biased; the environment within a row is drawn evenly, as SB3's buffers do, and so are returns, time limits and the ring.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.common.validation import check_count, check_number


class AgeBiased(ReplayBuffer):
    """Draws rows by :meth:`ages`; goes in front of one of SB3's buffers."""

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """
        :param arguments: What the constructor is to be given; others are left alone.
        :raises ValueError: For a value out of range.
        """

    def ages(self, batch_size: int) -> np.ndarray:
        """
        Ages to draw, as many as the batch has transitions.

        :param batch_size: Transitions of the batch.
        :return: Integers in [0, :meth:`size`), shape (batch_size,).
        """
        raise NotImplementedError

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """
        :param batch_size: Number of transitions.
        :param env: Normalises observations and rewards.
        :return: Samples of the buffer behind it, which may be those of a Dict.
        :raises ValueError: If the buffer is empty.
        """
        if self.size() == 0:
            raise ValueError("The replay buffer is empty: there is nothing to draw.")
        return self._get_samples((self.pos - 1 - self.ages(batch_size)) % self.buffer_size, env=env)


class GeometricAges(AgeBiased):
    """
    Ages of a truncated geometric distribution: with n rows P(age) is proportional to exp(-recency age / n), so that the
    newest transition is exp(recency) times as likely as the oldest one, however full the buffer is.

    :param recency: At least 0, which draws evenly. With 2 the newer half gets 73 % of the draws, with 5 it gets 92 %.
    :param arguments: As for SB3's buffer.
    """

    def __init__(self, *arguments: Any, recency: float = 2.0, **keywords: Any):
        self.check_arguments({"recency": recency})
        super().__init__(*arguments, **keywords)
        self.recency = recency

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        if "recency" in arguments:
            check_number("recency", arguments["recency"])

    def ages(self, batch_size: int) -> np.ndarray:
        return geometric_ages(np.random.random(batch_size), self.size(), self.recency)


class RecentAges(AgeBiased):
    """
    A share of each batch from the latest transitions, the rest from all of them (FlowRL, arXiv 2506.12811).

    :param recent_size: How many transitions over all environments are the latest, at least 1. Where the number of
        environments does not divide it, those of the oldest row among them are drawn as often as if it did.
    :param recent_fraction: Their share of the batch, rounded up to whole transitions, in [0, 1].
    :param arguments: As for SB3's buffer.
    """

    def __init__(self, *arguments: Any, recent_size: int = 2048, recent_fraction: float = 0.2, **keywords: Any):
        self.check_arguments({"recent_size": recent_size, "recent_fraction": recent_fraction})
        super().__init__(*arguments, **keywords)
        self.recent_size = recent_size
        self.recent_fraction = recent_fraction

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        if "recent_size" in arguments:
            check_count("recent_size", arguments["recent_size"])
        if "recent_fraction" in arguments:
            check_number("recent_fraction", arguments["recent_fraction"], maximum=1.0)

    def ages(self, batch_size: int) -> np.ndarray:
        # Without the digits that 0.1 does not have, or 0.1 * 30 would be rounded up to 4.
        n_recent = math.ceil(round(self.recent_fraction * batch_size, 6))
        evenly = np.random.randint(0, self.size(), size=batch_size - n_recent)
        latest = min(self.recent_size, self.size() * self.n_envs)
        return np.concatenate([evenly, np.random.randint(0, latest, size=n_recent) // self.n_envs])


def geometric_ages(quantiles: np.ndarray, n: int, recency: float) -> np.ndarray:
    """
    Ages below n of which P(age) is proportional to exp(-recency age / n), by inversion.

    :param quantiles: Uniform in [0, 1), any shape.
    :param n: Number of ages, at least 1.
    :param recency: At least 0.
    :return: Integers of the same shape.
    """
    # Below that the density is even to all digits, and the formula divides by what is nearly 0.
    if recency > 1e-9:
        quantiles = np.log1p(quantiles * np.expm1(-recency)) / -recency
    return np.minimum((quantiles * n).astype(np.int64), n - 1)


class OneStep(NStepReplayBuffer):
    """SB3's buffer of n-step returns, of one step unless told otherwise."""

    def __init__(self, *arguments: Any, n_steps: int = 1, **keywords: Any):
        super().__init__(*arguments, n_steps=n_steps, **keywords)


class GeometricReplayBuffer(GeometricAges, OneStep):
    """
    Replay buffer in which new transitions are drawn more often, by a truncated geometric distribution in age.

    It serves one-step and n-step returns, for ``replay_buffer_class`` of every off-policy algorithm::

        QFlex("MlpPolicy", env, replay_buffer_class=GeometricReplayBuffer, replay_buffer_kwargs=dict(recency=2.0))

    :param arguments: As for SB3's ``NStepReplayBuffer``; ``optimize_memory_usage`` is not supported.
    :param recency: With n transitions stored, P(age) is proportional to exp(-recency age / n); at least 0, which draws
        evenly. The newest is exp(recency) times as likely as the oldest.
    :param n_steps: Steps of the return; the algorithm passes its own.
    :param gamma: Discount factor; the algorithm passes its own.
    :raises ValueError: For a recency that is no number of at least 0.
    """


class DictGeometricReplayBuffer(GeometricAges, DictReplayBuffer):
    """
    :class:`GeometricReplayBuffer` for Dict observations, with one-step returns.

    :param arguments: As for SB3's ``DictReplayBuffer``.
    :param recency: As there.
    """


class RecentReplayBuffer(RecentAges, OneStep):
    """
    Replay buffer that draws a share of each batch from the latest transitions (FlowRL, arXiv 2506.12811).

    :param arguments: As for SB3's ``NStepReplayBuffer``; ``optimize_memory_usage`` is not supported.
    :param recent_size: How many transitions over all environments are the latest, at least 1.
    :param recent_fraction: Share of the batch that comes from them alone, in [0, 1]; the rest comes from all
        transitions, them included.
    :param n_steps: Steps of the return; the algorithm passes its own.
    :param gamma: Discount factor; the algorithm passes its own.
    :raises ValueError: For values out of range.
    """


class DictRecentReplayBuffer(RecentAges, DictReplayBuffer):
    """
    :class:`RecentReplayBuffer` for Dict observations, with one-step returns.

    :param arguments: As for SB3's ``DictReplayBuffer``.
    :param recent_size: As there.
    :param recent_fraction: As there.
    """
