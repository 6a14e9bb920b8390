"""Goals within flat observations, for :class:`sb3_qflex.HindsightReplayBuffer`, and those of MyoSuite's tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class DistanceGoals:
    """
    Goals that an observation shows as error = goal - reached, and whose reward depends on d = ‖error‖ alone:
    -``weight`` d, and ``bonus`` for each of ``near`` that d is below. A penalty that goes with the end of an episode is
    not among it: hindsight leaves ends as they were.

    :param size: Entries of an observation
    :param reached: Which of them are what is reached, as many as a goal has
    :param error: Which of them are the error
    :param near: Distances below which a bonus is paid, in the units of the goal
    :param weight: Of the distance
    :param bonus: For each
    :param low: Lowest goal that the task asks for, as many numbers as a goal has; None: any
    :param high: Highest one
    :raises ValueError: If an observation has not as many entries for the error as for what is reached
    """

    size: int
    reached: slice
    error: slice
    near: Sequence[float]
    weight: float = 1.0
    bonus: float = 4.0
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None

    def __post_init__(self) -> None:
        reached, error = (len(range(self.size)[part]) for part in (self.reached, self.error))
        if reached != error or reached == 0:
            raise ValueError(
                f"{self.reached} and {self.error} are {reached} and {error} of the {self.size} entries of an "
                "observation: what is reached and the error need the same number of them, at least 1"
            )

    def achieved(self, observations: Array) -> Array:
        """
        :param observations: (..., ``size``)
        :return: (..., |G|)
        """
        return observations[..., self.reached]

    def may_be_asked(self, goals: Array) -> NDArray[np.bool_]:
        """
        :param goals: (..., |G|)
        :return: Which lie within ``low`` and ``high``, (...)
        """
        low = -np.inf if self.low is None else np.asarray(self.low)
        high = np.inf if self.high is None else np.asarray(self.high)
        return np.all((goals >= low) & (goals <= high), axis=-1)

    def relabelled(self, observations: Array, goals: Array) -> Array:
        """
        :param observations: (..., ``size``), left as they are
        :param goals: (..., |G|)
        :return: (..., ``size``), with the errors to these goals
        """
        relabelled = observations.copy()
        relabelled[..., self.error] = goals - observations[..., self.reached]
        return relabelled

    def reward(self, observations: Array) -> Array:
        """
        :param observations: (..., ``size``)
        :return: What their distances contribute to the reward, (...)
        """
        distance = np.linalg.norm(observations[..., self.error], axis=-1)
        bonuses = sum(distance < near for near in self.near)
        return -self.weight * distance + self.bonus * bonuses


def myosuite_goals(body: Any) -> DistanceGoals | None:
    """
    :param body: An environment of MyoSuite, unwrapped
    :return: Its goals, with the weights and thresholds that it was made with; None for other tasks than reaching with
        finger, hand or arm, poses of the same, and holding an object, and where observations lack what is reached or
        the error
    """
    from myosuite.envs.myo.tasks.basic.arm.pose import PoseEnvV0
    from myosuite.envs.myo.tasks.basic.arm.reach import ReachEnvV0
    from myosuite.envs.myo.tasks.basic.hand.obj_hold import ObjHoldFixedEnvV0

    kinds: list[tuple[type, Callable[[Any], tuple[str, str, dict[str, Any]]]]] = [
        (ReachEnvV0, _reaching),
        (PoseEnvV0, _posing),
        (ObjHoldFixedEnvV0, _holding),
    ]
    describe = next((describe for kind, describe in kinds if isinstance(body, kind)), None)
    if describe is None:
        return None
    reached, error, rule = describe(body)
    at = _places(body)
    if reached not in at or error not in at:
        return None
    weights = body.rwd_keys_wt
    return DistanceGoals(
        size=max(place.stop for place in at.values()),
        # A pose's target may be of the leading joints alone.
        reached=slice(at[reached].start, at[reached].start + at[error].stop - at[error].start),
        error=at[error],
        bonus=weights.get("bonus", 0.0),
        **rule,
    )


def _places(body: Any) -> dict[str, slice]:
    """Where each part of the observation is in the flat one."""
    parts = body.get_obs_dict(body._accessor)
    ends = np.cumsum([np.size(part) for part in parts.values()]).tolist()
    return {key: slice(end - np.size(part), end) for (key, part), end in zip(parts.items(), ends, strict=True)}


def _reaching(body: Any) -> tuple[str, str, dict[str, Any]]:
    """Distances over all tips together; thresholds grow with their number."""
    tips = len(body.tip_sids)
    near, weight = (0.025 * tips, 0.0125 * tips), body.rwd_keys_wt.get("reach", 0.0)
    return "tip_pos", "reach_err", {"near": near, "weight": weight}


def _posing(body: Any) -> tuple[str, str, dict[str, Any]]:
    near, weight = (1.5 * body.pose_thd, body.pose_thd), body.rwd_keys_wt.get("pose", 0.0)
    return "qpos", "pose_err", {"near": near, "weight": weight}


def _holding(body: Any) -> tuple[str, str, dict[str, Any]]:
    """Targets lie within 3 cm of where the object starts, in each direction."""
    start, weight = body.object_init_pos, body.rwd_keys_wt.get("goal_dist", 0.0)
    rule = {"near": (0.02, 0.01), "low": (start - 0.03).tolist(), "high": (start + 0.03).tolist()}
    return "obj_pos", "obj_err", {**rule, "weight": weight}
