"""Steps per second of the ids beside MuJoCo alone on the same model, states and controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
from numpy.typing import NDArray

from sb3_qflex.common.machine import describe_machine, describe_versions
from sb3_qflex.envs.catalogue import CATALOGUE, Entry
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.report import Report

CHUNK = 25  # steps, after which it is MuJoCo's turn: a disturbance of the machine meets both
FURTHER = 8  # environments made besides the first one
CHAINS = 256

TEXT = """One process, random actions, resets not timed. After every 25 steps MuJoCo alone repeats the controls from
the same state; the ratio is the environment's time in units of MuJoCo's. Rows of MyoSuite's own ids show what its tasks
take without this package. The last columns are the cost of one more environment in the same process."""


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
    Take random actions and repeat the controls with MuJoCo alone, taking turns.

    :param env: Any environment of the catalogue
    :param steps: Steps to take over as many episodes as needed; resets are not timed
    :param seed: Seed of starts and actions
    :return: Times of both
    """
    env.action_space.seed(seed)
    env.reset(seed=seed)
    simulated = hasattr(env.unwrapped, "data")
    total, bare, taken = 0.0, 0.0, 0
    while taken < steps:
        start = _state(env.unwrapped) if simulated else None
        seconds, count, controls = _turn(env, min(CHUNK, steps - taken), simulated)
        total, taken = total + seconds, taken + count
        if start is not None:
            bare += _replay(env.unwrapped, start, controls)
    return Round(total, bare if simulated else None)


def _turn(env: gym.Env, steps: int, simulated: bool) -> tuple[float, int, list[NDArray[np.float64]]]:
    """Step up to so often or to the episode's end, then reset if it ended: seconds, steps taken, their controls."""
    body: Any = env.unwrapped
    controls: list[NDArray[np.float64]] = []
    total, taken, done = 0.0, 0, False
    while taken < steps and not done:
        action = env.action_space.sample()
        began = perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        total += perf_counter() - began
        taken, done = taken + 1, terminated or truncated
        if simulated:
            controls.append(body.data.ctrl.copy())
    if done:
        env.reset()
    return total, taken, controls


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


def measure(entries: Sequence[Entry], steps: int, rounds: int, command: str) -> Report:
    """
    :param entries: Ids to measure; those that cannot be made here are named as skipped
    :param steps: Steps per round
    :param rounds: Rounds per id, after one that is not counted
    :param command: The command line, for the report
    :return: Report with steps/s of each environment and of MuJoCo alone, and their ratio
    """
    section = Section("environments", "Steps per second", TEXT)
    report = Report("Speed of the environments", command, describe_machine(1), describe_versions(), [section])
    originals: dict[str, None] = {}
    for entry in entries:
        if entry.missing():
            section.skipped.append(f"{entry.id}, which cannot be made here")
            continue
        _add_speeds(section, entry.id, steps, rounds)
        _add_construction(section, entry.id)
        if "task" in entry.kwargs:
            originals[entry.kwargs["task"]] = None
    for task in originals:
        _add_speeds(section, task, steps, rounds)
    if any(entry.id == CATALOGUE[-1].id for entry in entries):
        _add_chains(section, steps, rounds)
    return report


def _add_speeds(section: Section, env_id: str, steps: int, rounds: int) -> None:
    env = gym.make(env_id)
    run_round(env, min(steps, CHUNK), seed=0)
    measured = [run_round(env, steps, seed=1 + index) for index in range(rounds)]
    env.close()
    section.add(env_id, "environment", np.array([steps / taken.env for taken in measured]), "steps/s")
    pairs = [(taken.env, taken.bare) for taken in measured if taken.bare is not None]
    if pairs:
        section.add(env_id, "mj_step alone", np.array([steps / bare for _, bare in pairs]), "steps/s")
        section.add(env_id, "time / mj_step", np.array([own / bare for own, bare in pairs]))


def _add_construction(section: Section, env_id: str) -> None:
    process = psutil.Process()
    envs = [gym.make(env_id)]
    before, began = process.memory_info().rss, perf_counter()
    envs += [gym.make(env_id) for _ in range(FURTHER)]
    seconds, grown = perf_counter() - began, process.memory_info().rss - before
    section.add(env_id, "one more", 1e3 * seconds / FURTHER, "ms")
    section.add(env_id, "one more", max(grown, 0) / 2**20 / FURTHER, "MB")


def _add_chains(section: Section, steps: int, rounds: int) -> None:
    """The vectorised chain: steps of all copies together."""
    from sb3_qflex.envs import PlanarChainVecEnv

    chains = PlanarChainVecEnv(CHAINS)
    chains.reset()
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (CHAINS, chains.n_links)).astype(np.float32)
    speeds = []
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(steps):
            chains.step(actions)
        speeds.append(CHAINS * steps / (perf_counter() - began))
    section.add(f"PlanarChainVecEnv({CHAINS})", "environment", np.array(speeds), "steps/s")
