"""Steps per second of the ids beside MuJoCo alone on the same model, states and controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sb3_qflex.envs.catalogue import Entry


@dataclass
class Round:
    """
    Seconds spent on the same steps.

    :param env: By ``env.step``
    :param bare: By ``mj_step`` with the same controls from the same states; None without MuJoCo
    """

    env: float
    bare: float | None


def run_round(env: gym.Env, steps: int, seed: int) -> Round:
    """
    Take random actions and repeat each episode's controls with MuJoCo alone right after it.

    :param env: Any environment of the catalogue
    :param steps: Steps to take over as many episodes as needed; resets are not timed
    :param seed: Seed of starts and actions
    :return: Times of both
    """
    env.action_space.seed(seed)
    env.reset(seed=seed)
    body: Any = env.unwrapped
    simulated = hasattr(body, "data")
    total, bare, taken = 0.0, 0.0, 0
    while taken < steps:
        start = _state(body) if simulated else None
        controls: list[NDArray[np.float64]] = []
        done = False
        while not done and taken < steps:
            action = env.action_space.sample()
            began = perf_counter()
            _, _, terminated, truncated, _ = env.step(action)
            total += perf_counter() - began
            taken += 1
            done = terminated or truncated
            if simulated:
                controls.append(body.data.ctrl.copy())
        if start is not None:
            bare += _replay(body, start, controls)
        env.reset()
    return Round(total, bare if simulated else None)


def _state(body: Any) -> NDArray[np.float64]:
    import mujoco

    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(body.model, kind))
    mujoco.mj_getState(body.model, body.data, state, kind)
    return state


def _replay(body: Any, start: NDArray[np.float64], controls: list[NDArray[np.float64]]) -> float:
    import mujoco

    data = mujoco.MjData(body.model)
    mujoco.mj_setState(body.model, data, start, mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_forward(body.model, data)
    began = perf_counter()
    for control in controls:
        data.ctrl[:] = control
        mujoco.mj_step(body.model, data, nstep=body.frame_skip)
    return perf_counter() - began


def benchmark_table(entries: Sequence[Entry], steps: int, rounds: int) -> str:
    """
    :param entries: Ids that can be made here
    :param steps: Steps per round
    :param rounds: Rounds per id, after one that is not counted
    :return: Markdown table of medians over the rounds: steps/s of the environment and of MuJoCo alone, and the time
        of a step in units of MuJoCo's
    """
    from sb3_qflex.envs.__main__ import table

    rows: list[tuple[str, ...]] = [("id", "steps/s", "mj_step alone, steps/s", "time / mj_step")]
    rows += [(entry.id, *_speeds(entry, steps, rounds)) for entry in entries]
    return table(rows)


def _speeds(entry: Entry, steps: int, rounds: int) -> tuple[str, str, str]:
    env = gym.make(entry.id)
    run_round(env, steps, seed=0)
    measured = [run_round(env, steps, seed=1 + index) for index in range(rounds)]
    env.close()
    speed = f"{median(steps / taken.env for taken in measured):.0f}"
    pairs = [(taken.env, taken.bare) for taken in measured if taken.bare is not None]
    if not pairs:
        return speed, "-", "-"
    return speed, f"{median(steps / bare for _, bare in pairs):.0f}", f"{median(own / bare for own, bare in pairs):.2f}"
