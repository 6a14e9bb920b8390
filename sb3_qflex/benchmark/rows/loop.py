"""The whole loop in environment steps a second, and where its time goes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_qflex import QFlex
from sb3_qflex.benchmark import workloads
from sb3_qflex.benchmark.environments import make_myosuite, missing_myosuite
from sb3_qflex.benchmark.loop_timer import PARTS, LoopTimer
from sb3_qflex.benchmark.measurement import Section
from sb3_qflex.benchmark.settings import BATCH_SIZE, Loop, Settings
from sb3_qflex.benchmark.timing import Schedule, Task, interleave, ratio
from sb3_qflex.vec_env import WorkerVecEnv

_TEXT = f"""\
`model.learn` of QFlex on MyoSuite's environments, each in SB3's Monitor, from the first step on with the policy's own
actions. *collecting* has no updates; *training* has one update on a batch of {BATCH_SIZE} per vector step. The time
split is in milliseconds per vector step. *Dummy, plain* does without the folded networks. *faster than X* is the time
that X takes for the same number of steps, divided by this row's; *environment, faster than X* counts `VecEnv.step`
alone."""

_VEC_ENVS: dict[str, Callable[[list[Callable[[], gym.Env]]], VecEnv]] = {
    "Dummy": DummyVecEnv,
    "Subproc": SubprocVecEnv,
    "Worker": WorkerVecEnv,
}
_PLAIN = "Dummy, plain"
_BUFFER_SIZE = 50_000
#: Share of the free memory that SubprocVecEnv's processes may take.
_MEMORY_SHARE = 0.8


def measure_loops(settings: Settings) -> Section:
    """
    :param settings: Sizes and durations.
    """
    section = Section("loop", "The whole loop", _TEXT)
    missing = missing_myosuite()
    for loop in settings.loops:
        if missing is not None:
            section.skipped.append(f"{loop.env_id}: {missing}")
        else:
            _measure_loop(section, loop, settings.loop_schedule)
    return section


def _measure_loop(section: Section, loop: Loop, schedule: Schedule) -> None:
    names = [*_VEC_ENVS, *([_PLAIN] if loop.learns else [])]
    too_large = _too_large_for_processes(loop)
    if too_large is not None:
        names.remove("Subproc")
        section.skipped.append(f"{loop.env_id}, Subproc: {too_large}")
    with ExitStack() as stack:
        timers = {name: stack.enter_context(_running(name, loop)) for name in names}
        steps = loop.n_envs * loop.turn_steps
        seconds = interleave([Task(name, partial(timer.learn, steps)) for name, timer in timers.items()], schedule)
    kind = "training" if loop.learns else "collecting"
    for name, timer in timers.items():
        rounds = len(seconds[name])
        split = {part: np.array([turn[part] for turn in timer.turns[-rounds:]]) for part in PARTS}
        case = f"{loop.env_id} x {loop.n_envs}, {kind}, {name}"
        section.add(case, "environment steps a second", steps / seconds[name], "1/s")
        for part in PARTS:
            section.add(case, part, 1e3 * split[part] / loop.turn_steps, "ms")
        for other in names:
            section.add(case, f"faster than {other}", ratio(seconds, other, name))
        dummy = np.array([turn["environment"] for turn in timers["Dummy"].turns[-rounds:]])
        section.add(case, "environment, faster than Dummy", dummy / split["environment"])


@contextmanager
def _running(name: str, loop: Loop) -> Iterator[LoopTimer]:
    """A model in the middle of its loop on a VecEnv of that name."""
    vec_env = _VEC_ENVS[name.partition(",")[0]]([partial(make_myosuite, loop.env_id)] * loop.n_envs)
    try:
        vec_env.seed(0)
        model = QFlex(
            "MlpPolicy",
            vec_env,
            buffer_size=_BUFFER_SIZE,
            learning_starts=0,
            batch_size=BATCH_SIZE,
            train_freq=1,
            gradient_steps=int(loop.learns),
            seed=0,
            device="cpu",
        )
        model.set_logger(configure(format_strings=[]))
        with workloads.plain_path(model.policy) if name == _PLAIN else ExitStack():
            yield LoopTimer(model)
    finally:
        vec_env.close()


def _too_large_for_processes(loop: Loop) -> str | None:
    """Why this machine's memory is too small for a process per environment, judged by one such process."""
    meminfo, status = Path("/proc/meminfo"), Path("/proc/{}/status")
    if not meminfo.is_file():
        return None
    vec_env = SubprocVecEnv([partial(make_myosuite, loop.env_id)])
    try:
        vec_env.reset()
        need = loop.n_envs * _kilobytes(Path(str(status).format(vec_env.processes[0].pid)), "RssAnon")
    finally:
        vec_env.close()
    free = _kilobytes(meminfo, "MemAvailable")
    if need <= _MEMORY_SHARE * free:
        return None
    return f"{loop.n_envs} processes would take {need / 2**20:.1f} GiB, and {free / 2**20:.1f} GiB are free"


def _kilobytes(path: Path, field: str) -> int:
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(fields[field].split()[0])
