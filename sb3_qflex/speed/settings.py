"""Sizes and durations of the full and of the quick form."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch as th

from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.timing import Schedule, Task, interleave

BATCH_SIZE = 256
#: N of the paper, but where a row varies it.
GUIDANCE_STEPS = 20

PAPER_SIZES = (Problem(83, 39), Problem(403, 80), Problem(270, 216), Problem(684, 354))
WIDE_SIZE = Problem(3148, 700, (1024, 1024, 1024))
#: Pendulum's, with SB3's networks for it: an update that is mostly calls.
SMALL_SIZE = Problem(3, 1, (64, 64))


@dataclass(frozen=True)
class Loop:
    """
    A training loop to measure.

    :param env_id: MyoSuite's id.
    :param learns: Whether there is an update per vector step; without, the policy only collects.
    :param n_envs: Number of environments.
    :param turn_steps: Vector steps of a turn.
    """

    env_id: str
    learns: bool
    n_envs: int
    turn_steps: int


@dataclass(frozen=True)
class Settings:
    """
    What is measured, and for how long.

    :param threads: Threads of torch.
    :param sizes: For flow target, update, acting and memory.
    :param schedule: Of a comparison.
    :param growth_obs_dim: Observation size of the growth rows.
    :param growth_actions: |A| of the growth rows, ascending.
    :param growth_steps: N and K of the growth rows, ascending.
    :param rounding_actions: |A| of the rows about bfloat16, with the observation size of the growth rows.
    :param acting_n_envs: Numbers of observations that are acted on.
    :param methods_size: Of the row of the other methods.
    :param latency_flow_steps: K of the latency rows.
    :param latency_calls: Calls of a turn of theirs, enough for a 99th percentile.
    :param loops: Training loops.
    :param loop_schedule: Of a loop's comparison.
    :param device: Of networks and batches: "cpu" or "cuda".
    """

    threads: int
    sizes: tuple[Problem, ...]
    schedule: Schedule
    growth_obs_dim: int
    growth_actions: tuple[int, ...]
    growth_steps: tuple[int, ...]
    rounding_actions: tuple[int, ...]
    acting_n_envs: tuple[int, ...]
    methods_size: Problem
    latency_flow_steps: tuple[int, ...]
    latency_calls: int
    loops: tuple[Loop, ...]
    loop_schedule: Schedule
    device: str = "cpu"

    def time(self, tasks: Sequence[Task]) -> dict[str, np.ndarray]:
        """
        ``interleave`` on the device: its clock waits for what is under way.

        :param tasks: What is compared.
        """
        return interleave(tasks, self.schedule, perf_counter if self.device == "cpu" else _clock_of_cuda)


def _clock_of_cuda() -> float:
    th.cuda.synchronize()
    return perf_counter()


def full(threads: int) -> Settings:
    """The form whose table is published."""
    return Settings(
        threads=threads,
        sizes=(*PAPER_SIZES, WIDE_SIZE),
        schedule=Schedule(seconds=6.0, min_rounds=7, max_rounds=100),
        growth_obs_dim=403,
        growth_actions=(10, 20, 40, 80, 160, 320, 500, 700, 1000),
        growth_steps=(1, 5, 10, 20, 40),
        rounding_actions=(10, 39, 80, 216, 700),
        acting_n_envs=(1, 16, 80),
        methods_size=PAPER_SIZES[0],
        latency_flow_steps=(20, 10, 5, 2, 1),
        latency_calls=200,
        loops=(Loop("myoLegWalk-v0", False, 80, 30), Loop("myoHandPenTwirlRandom-v0", True, 80, 50)),
        loop_schedule=Schedule(seconds=90.0, min_rounds=5, max_rounds=15, turn_seconds=0.0),
    )


def quick(threads: int) -> Settings:
    """The form for every day, meant for under a minute on an idle machine with two cores."""
    return replace(
        full(threads),
        sizes=PAPER_SIZES[1:2],
        schedule=Schedule(seconds=0.8, min_rounds=3, max_rounds=20),
        growth_actions=(10, 80, 700),
        growth_steps=(1, 20),
        rounding_actions=(10, 700),
        acting_n_envs=(1, 80),
        latency_flow_steps=(20, 5),
        latency_calls=100,
        loops=(Loop("myoHandPenTwirlRandom-v0", True, 2, 5),),
        loop_schedule=Schedule(seconds=1.0, min_rounds=3, max_rounds=5, turn_seconds=0.0),
    )
