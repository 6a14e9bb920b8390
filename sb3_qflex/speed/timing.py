"""Interleaved timing in one process: whatever else the machine does hits all that is compared alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], float]


@dataclass(frozen=True)
class Task:
    """
    Something to time.

    :param name: Its name among the tasks of a comparison.
    :param function: What is timed.
    :param prepare: Called before each call of ``function`` and not timed.
    """

    name: str
    function: Callable[[], object]
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True)
class Schedule:
    """
    How long a comparison goes on: until ``seconds`` are used up, within the bounds of the number of rounds.

    :param seconds: Time for all rounds together, the warm-up not included.
    :param min_rounds: Rounds at least, 1 or more.
    :param max_rounds: Rounds at most.
    :param turn_seconds: A task faster than this is called several times in its turn, and the mean counts.
    """

    seconds: float
    min_rounds: int
    max_rounds: int
    turn_seconds: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.min_rounds <= self.max_rounds:
            raise ValueError(f"expected 1 <= min_rounds <= max_rounds, got {self.min_rounds} and {self.max_rounds}")


def interleave(tasks: Sequence[Task], schedule: Schedule, clock: Clock = time.perf_counter) -> dict[str, np.ndarray]:
    """
    Let tasks take turns, round by round; every second round goes backward, so that a drift favours none of them.

    :param tasks: What is compared; their names differ.
    :param schedule: How long.
    :param clock: Seconds.
    :return: Seconds per call of each task, shape (rounds,).
    :raises ValueError: If two tasks have one name.
    """
    if len({task.name for task in tasks}) < len(tasks):
        raise ValueError(f"names of tasks must differ, got {[task.name for task in tasks]}")
    calls = {task.name: _calls_per_turn(task, schedule.turn_seconds, clock) for task in tasks}
    seconds: dict[str, list[float]] = {task.name: [] for task in tasks}
    start = clock()
    for number in range(schedule.max_rounds):
        for task in tasks if number % 2 == 0 else reversed(tasks):
            seconds[task.name].append(_turn(task, calls[task.name], clock))
        if number + 1 >= schedule.min_rounds and clock() - start >= schedule.seconds:
            break
    return {name: np.array(values) for name, values in seconds.items()}


def _calls_per_turn(task: Task, turn_seconds: float, clock: Clock) -> int:
    _turn(task, 1, clock)
    return max(1, round(turn_seconds / max(_turn(task, 1, clock), 1e-9)))


def _turn(task: Task, calls: int, clock: Clock) -> float:
    """Mean seconds of a call."""
    total = 0.0
    for _ in range(calls):
        if task.prepare is not None:
            task.prepare()
        start = clock()
        task.function()
        total += clock() - start
    return total / calls


def ratio(seconds: Mapping[str, np.ndarray], numerator: str, denominator: str) -> np.ndarray:
    """
    :param seconds: Result of :func:`interleave`.
    :param numerator: Name of a task.
    :param denominator: Name of a task.
    :return: Their ratio in each round, since rounds differ in what else runs; shape (rounds,).
    """
    return seconds[numerator] / seconds[denominator]
