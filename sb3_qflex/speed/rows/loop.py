"""The whole loop in environment steps a second, and where its time goes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import gymnasium as gym
import numpy as np
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.speed import workloads
from sb3_qflex.speed.loop_timer import PARTS, LoopTimer
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.myosuite import make_myosuite, missing_myosuite, share_imports, too_large
from sb3_qflex.speed.settings import BATCH_SIZE, Loop, Settings
from sb3_qflex.speed.timing import Schedule, Task, interleave, ratio
from sb3_qflex.vec_env import WorkerVecEnv

_TEXT = f"""\
`model.learn` of QFlex on MyoSuite's environments (without the source of their model, see
`sb3_qflex.envs.myo.WithoutModelSource`), each in SB3's Monitor, from the first step on with the policy's own
actions. *collecting* has no updates; *training* has one update on a batch of {BATCH_SIZE} per vector step. The time
split is in milliseconds per vector step. *Dummy, plain* does without the folded networks. *faster than X* is the time
that X takes for the same number of steps, divided by this row's; *environment, faster than X* counts `VecEnv.step`
alone. Processes of Subproc and Worker share what they import."""

MakeVecEnv = Callable[[list[Callable[[], gym.Env]]], VecEnv]
_PLAIN = "Dummy, plain"
_BUFFER_SIZE = 50_000


def measure_loops(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("loop", "The whole loop", _TEXT)
    missing = missing_myosuite()
    share_imports()
    for loop in settings.loops:
        if missing is not None:
            section.skipped.append(f"{loop.env_id}: {missing}")
        else:
            _measure_loop(section, loop, settings.loop_schedule)
    return section


def _measure_loop(section: Section, loop: Loop, schedule: Schedule) -> None:
    vec_envs: dict[str, MakeVecEnv] = {"Dummy": DummyVecEnv, "Worker": WorkerVecEnv}
    if loop.learns:
        vec_envs[_PLAIN] = DummyVecEnv
    with ExitStack() as stack:
        timers = {name: stack.enter_context(_running(name, make, loop)) for name, make in vec_envs.items()}
        # Last, in what memory the others leave.
        reason = too_large(partial(make_myosuite, loop.env_id), loop.n_envs)
        if reason is None:
            timers["Subproc"] = stack.enter_context(_running("Subproc", SubprocVecEnv, loop))
        else:
            section.skipped.append(f"{loop.env_id}, Subproc: {reason}")
        steps = loop.n_envs * loop.turn_steps
        seconds = interleave([Task(name, partial(timer.learn, steps)) for name, timer in timers.items()], schedule)
    _report(section, loop, seconds, {name: timer.turns for name, timer in timers.items()})


def _report(
    section: Section, loop: Loop, seconds: dict[str, np.ndarray], turns: dict[str, list[dict[str, float]]]
) -> None:
    kind = "training" if loop.learns else "collecting"
    # The first turns were the warm-up.
    split = {
        name: {part: np.array([turn[part] for turn in turns[name][-len(values) :]]) for part in PARTS}
        for name, values in seconds.items()
    }
    for name, values in seconds.items():
        case = f"{loop.env_id} x {loop.n_envs}, {kind}, {name}"
        section.add(case, "environment steps a second", loop.n_envs * loop.turn_steps / values, "1/s")
        for part in PARTS:
            section.add(case, part, 1e3 * split[name][part] / loop.turn_steps, "ms")
        for other in seconds:
            section.add(case, f"faster than {other}", ratio(seconds, other, name))
        section.add(case, "environment, faster than Dummy", split["Dummy"]["environment"] / split[name]["environment"])


@contextmanager
def _running(name: str, make_vec_env: MakeVecEnv, loop: Loop) -> Iterator[LoopTimer]:
    """A model in the middle of its loop on a VecEnv."""
    vec_env = make_vec_env([partial(make_myosuite, loop.env_id)] * loop.n_envs)
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
