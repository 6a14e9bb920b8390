"""
How long a checkpoint takes at 403 observations, 80 actions and 80 environments:
``PYTHONPATH=tests python tests/robustness/time_checkpoints.py``.

The replay buffer (10^6 transitions, 3.5 GB) is full of random numbers from the start, so the first checkpoint writes
all of it and each later one the rows that are new, 10 000 of them. Writes docs/robustness/checkpoint_seconds.md.
"""

import shutil
import tempfile
import time
from functools import partial

import numpy as np
from helpers.injection_record import FOLDER
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_qflex import QFlex, TrainingCheckpoint
from sb3_qflex.common.machine import available_cores, describe_machine
from sb3_qflex.common.versions import describe_versions
from sb3_qflex.speed.workloads import SyntheticEnv

N_ENVS, EVERY, LATER = 80, 10_000, 5


class TimedCheckpoint(TrainingCheckpoint):
    """Notes how long each checkpoint takes."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, every=EVERY)
        self.seconds: list[float] = []

    def _save(self) -> None:
        start = time.perf_counter()
        super()._save()
        self.seconds.append(time.perf_counter() - start)


def filled_model() -> QFlex:
    """A model that collects only, with a full replay buffer."""
    env = DummyVecEnv([partial(SyntheticEnv, 403, 80)] * N_ENVS)
    model = QFlex("MlpPolicy", env, learning_starts=10**9, device="cpu", seed=0)
    model.learn(N_ENVS)
    buffer = model.replay_buffer
    assert buffer is not None
    rng = np.random.default_rng(0)
    for array in (buffer.observations, buffer.next_observations, buffer.actions):
        for rows in np.array_split(array, 100):
            rows[...] = rng.standard_normal(rows.shape, dtype=np.float32)
    buffer.full = True
    return model


def main() -> None:
    """Measure and write the page."""
    model, folder = filled_model(), tempfile.mkdtemp()
    try:
        callback = TimedCheckpoint(folder)
        model.learn(EVERY * (LATER + 1), callback, reset_num_timesteps=False)
    finally:
        shutil.rmtree(folder)
    first, *later = callback.seconds
    conditions = {**describe_machine(available_cores()), **describe_versions()}
    low, median, high = np.percentile(later, [25, 50, 75])
    page = f"""\
# Seconds of a checkpoint

{__doc__.strip().splitlines()[0]}

| checkpoint | seconds |
|---|---|
| the first, of a full buffer of 10^6 transitions | {first:.1f} |
| later ones, {EVERY} new transitions each ({len(later)} of them) | {median:.2f} ({low:.2f} to {high:.2f}) |

{"; ".join(f"{name}: {value}" for name, value in conditions.items())}
"""
    (FOLDER / "checkpoint_seconds.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
