"""Interquartile means, bootstrap intervals and probabilities of improvement, by rliable with a fixed seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rliable.library import get_interval_estimates

#: With fewer runs a bootstrap interval would pretend a certainty that is not there.
FEWEST_RUNS = 5
_RESAMPLES = 2000
_SEED = 0

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """
    An estimate over runs.

    :param value: shape () or (points,)
    :param low: lower end of the 95 % interval, None with too few runs
    :param high: its upper end
    :param runs: number of runs
    """

    value: Values
    low: Values | None
    high: Values | None
    runs: int


def interquartile_mean(scores: Sequence[float] | Values) -> Estimate:
    """
    The mean without the lowest and highest quarter of the runs, with its 95 % stratified bootstrap interval.

    :param scores: shape (runs,), or (runs, points) for a curve with pointwise intervals
    :return: the estimate; NaN where a run has no value
    """
    found = np.asarray(scores, dtype=float)
    return _estimate(_middle_mean, [found.reshape(len(found), 1, -1)], found)


def _middle_mean(scores: Values) -> Values:
    """rliable's ``aggregate_iqm`` at each point, shape (runs, 1, points); a third of the time of SciPy's."""
    cut = len(scores) // 4
    ordered = np.sort(scores[:, 0], axis=0)
    mean = ordered[cut : len(scores) - cut].mean(axis=0)
    # NaN comes last: where a run has no value, there is no mean of all runs.
    return np.where(np.isnan(ordered[-1]), np.nan, mean)


def improvement(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """
    :param ours: shape (runs,)
    :param theirs: shape (other runs,)
    :return: probability that a run of the first kind has a higher score than one of the second
    """
    return _of_two(_share_of_pairs, ours, theirs)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """
    :param ours: shape (runs,)
    :param theirs: shape (other runs,)
    :return: interquartile mean of the first kind minus that of the second
    """
    return _of_two(lambda *columns: np.subtract(*(_middle_mean(one[:, None]) for one in columns)), ours, theirs)


def _of_two(function: Callable[..., Values], ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    columns = [np.asarray(scores, dtype=float).reshape(-1, 1) for scores in (ours, theirs)]
    return _estimate(function, columns, min(columns, key=len)[:, 0])


def _share_of_pairs(ours: Values, theirs: Values) -> Values:
    """rliable's ``probability_of_improvement``, the statistic of Mann and Whitney without its costly p-value."""
    difference = ours - theirs.T
    return np.array([np.mean((difference > 0) + 0.5 * (difference == 0))])


def _estimate(function: Callable[..., Values], columns: list[Values], like: Values) -> Estimate:
    """Of one or two columns as rliable has them; ``like`` gives the number of runs and the shape of the result."""
    shape = like.shape[1:]
    value = function(*columns).reshape(shape)
    if len(like) < FEWEST_RUNS:
        return Estimate(value, None, None, len(like))
    scores = columns[0] if len(columns) == 1 else columns
    # rliable draws from NumPy's global generator, whatever ``random_state`` it is given.
    state = np.random.get_state()
    np.random.seed(_SEED)
    try:
        _, intervals = get_interval_estimates({"": scores}, function, reps=_RESAMPLES)
    finally:
        np.random.set_state(state)
    low, high = (end.reshape(shape) for end in intervals[""])
    return Estimate(value, low, high, len(like))
