"""Where the time of SB3's off-policy loop goes."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_qflex.speed.timing import Clock

#: Methods of the loop by the part that they are; none of them calls another. "environment" is ``VecEnv.step``.
METHODS = {"acting": "_sample_action", "buffer": "_store_transition", "update": "train"}
PARTS = ("environment", *METHODS, "other")


class Stopwatch:
    """
    Seconds spent in methods, by the part that they belong to.

    :param clock: Seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter):
        self.clock = clock
        #: Seconds of each part so far.
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._undo: list[Callable[[], None]] = []

    def watch(self, part: str, owner: Any, method: str) -> None:
        """
        Time a method from now on.

        :param part: What its time counts as.
        :param owner: An object, or a class for all its objects.
        :param method: The method's name.
        """
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self.clock()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[part] += self.clock() - start

        own = vars(owner).get(method)
        self._undo.append(lambda: setattr(owner, method, own) if own is not None else delattr(owner, method))
        setattr(owner, method, timed)

    def release(self) -> None:
        """Put all methods back as they were."""
        while self._undo:
            self._undo.pop()()


class LoopTimer:
    """
    Times the parts of a model's loop, from now on and for its whole life.

    :param model: Its methods are wrapped, and ``step`` of its environment.
    :param clock: Seconds.
    """

    def __init__(self, model: OffPolicyAlgorithm, clock: Clock = time.perf_counter):
        self._model = model
        self._stopwatch = Stopwatch(clock)
        #: Seconds of each part, one entry for each call of :meth:`learn`.
        self.turns: list[dict[str, float]] = []
        self._stopwatch.watch("environment", model.env, "step")
        for part, method in METHODS.items():
            self._stopwatch.watch(part, model, method)

    def learn(self, total_timesteps: int) -> None:
        """Go on with the loop for so many environment steps, over all environments."""
        seconds, clock = self._stopwatch.seconds, self._stopwatch.clock
        seconds.clear()
        start = clock()
        self._model.learn(total_timesteps, reset_num_timesteps=False)
        total = clock() - start
        parts = {part: seconds[part] for part in PARTS if part != "other"}
        self.turns.append({**parts, "other": total - sum(parts.values())})
