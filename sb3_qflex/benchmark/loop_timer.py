"""Where the time of SB3's off-policy loop goes."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_qflex.benchmark.timing import Clock

#: Methods of the loop by the part that they are; none of them calls another. "environment" is ``VecEnv.step``.
_METHODS = {"acting": "_sample_action", "buffer": "_store_transition", "update": "train"}
PARTS = ("environment", *_METHODS, "other")


class LoopTimer:
    """
    Times the parts of a model's loop, from now on and for its whole life.

    :param model: Its methods are wrapped, and ``step`` of its environment.
    :param clock: Seconds.
    """

    def __init__(self, model: OffPolicyAlgorithm, clock: Clock = time.perf_counter):
        self._model = model
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        #: Seconds of each part, one entry for each call of :meth:`learn`.
        self.turns: list[dict[str, float]] = []
        self._watch("environment", model.env, "step")
        for part, method in _METHODS.items():
            self._watch(part, model, method)

    def _watch(self, part: str, owner: Any, method: str) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self._clock()
            try:
                return original(*args, **kwargs)
            finally:
                self._seconds[part] += self._clock() - start

        setattr(owner, method, timed)

    def learn(self, total_timesteps: int) -> None:
        """
        Go on with the loop.

        :param total_timesteps: Environment steps, over all environments.
        """
        self._seconds.clear()
        start = self._clock()
        self._model.learn(total_timesteps, reset_num_timesteps=False)
        total = self._clock() - start
        parts = {part: self._seconds[part] for part in PARTS if part != "other"}
        self.turns.append({**parts, "other": total - sum(parts.values())})
