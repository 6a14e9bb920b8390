"""Steps per second of the ids beside MuJoCo alone on the same model, states and controls."""

from collections.abc import Sequence
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
from sb3_qflex.speed.timing import Schedule, Task, interleave

CHUNK = 25  # steps, after which it is MuJoCo's turn: a disturbance of the machine meets both
FURTHER = 8  # environments made besides the first one
CHAINS = 256

TEXT = """One process, random actions, resets not timed. After every 25 steps MuJoCo alone repeats the controls from
the same state; the ratio is the environment's time in units of MuJoCo's. Rows of MyoSuite's own ids show what its tasks
take without this package. The last columns are the cost of one more environment in the same process."""


def _round(env: gym.Env, steps: int, seed: int) -> tuple[float, float | None]:
    """
    Seconds of random steps over as many episodes as needed, and of ``mj_step`` with the same controls from the same
    states (None without MuJoCo), taking turns.
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
    return total, bare if simulated else None


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
    _round(env, min(steps, CHUNK), seed=0)
    seconds, bare = zip(*(_round(env, steps, seed=1 + index) for index in range(rounds)), strict=True)
    env.close()
    section.add(env_id, "environment", steps / np.array(seconds), "steps/s")
    if bare[0] is not None:
        section.add(env_id, "mj_step alone", steps / np.array(bare), "steps/s")
        section.add(env_id, "time / mj_step", np.array(seconds) / np.array(bare))


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
    seconds = interleave(
        [Task("chains", lambda: [chains.step(actions) for _ in range(steps)])],
        Schedule(0.0, rounds, rounds, turn_seconds=0.0),
    )
    section.add(f"PlanarChainVecEnv({CHAINS})", "environment", CHAINS * steps / seconds["chains"], "steps/s")
