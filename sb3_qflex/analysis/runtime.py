"""Training time from the run's monitor files, and one-step inference time by interleaved timing (paper, Table 5)."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import partial

import numpy as np
import pandas as pd
import torch as th
from matplotlib.figure import Figure
from stable_baselines3.common.monitor import LoadMonitorResultsError, load_results

from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.trained import Trained, load_all
from sb3_qflex.speed.timing import Schedule, Task, interleave


def training_time(trained: Trained) -> tuple[int, float]:
    """
    Environment steps and wall-clock seconds at the end of the last training episode; 0 and NaN where the model is in no
    run folder, or its monitor files hold no episode.
    """
    if trained.folder is not None:
        with suppress(LoadMonitorResultsError):
            episodes = load_results(str(trained.folder))
            return int(episodes["l"].sum()), float(episodes["t"].max())
    return 0, float("nan")


def inference_seconds(models: Sequence[Trained], schedule: Schedule) -> dict[str, np.ndarray]:
    """
    Seconds of ``predict`` for one observation, the models taking turns.

    :param models: any algorithms
    :param schedule: how long
    :return: seconds by label, one for each round
    """
    tasks = []
    for one in models:
        with closing(one.task.make(1)) as env:
            obs = env.reset()
        tasks.append(Task(one.label, partial(one.model.predict, obs, deterministic=False)))  # type: ignore[arg-type]
    return interleave(tasks, schedule)


def table(models: Sequence[Trained], seconds: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One row for each model, of seconds from :func:`inference_seconds`."""
    rows = []
    for one in models:
        steps, wall_clock = training_time(one)
        low, median, high = np.percentile(1e3 * seconds[one.label], [25, 50, 75])
        rows.append(
            {
                "model": one.label,
                "environment": one.task.env_id,
                "training steps": steps,
                "training [s]": wall_clock,
                "training steps / s": steps / wall_clock,
                "one step, lower quartile [ms]": low,
                "one step, median [ms]": median,
                "one step, upper quartile [ms]": high,
            }
        )
    return pd.DataFrame(rows)


def draw(found: pd.DataFrame) -> Figure:
    """Bars of :func:`table`."""
    figure = Figure(figsize=(11, 1.5 + 0.6 * len(found)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(found["model"], found["training [s]"])
    left.set(title="Training", xlabel="wall-clock [s]")
    median = found["one step, median [ms]"]
    low, high = median - found["one step, lower quartile [ms]"], found["one step, upper quartile [ms]"] - median
    right.barh(found["model"], median, xerr=np.stack([low, high]))
    right.set(title="One step of inference", xlabel="predict, one observation [ms]")
    left.invert_yaxis()
    return figure


def run(args: argparse.Namespace) -> Result:
    """Carry out the command."""
    th.set_num_threads(args.threads)
    models = load_all(args.models, args.env, args.algo)
    seconds = inference_seconds(models, Schedule(args.seconds, min_rounds=5, max_rounds=10_000))
    text = (
        "Training is the wall-clock time to the end of the last training episode in the run's monitor files, "
        "evaluations included, on whatever machine trained it. One step is `predict` of one observation on this "
        f"machine with {args.threads} thread(s) of torch; the models take turns. Compare runs of one machine only."
    )
    found = table(models, seconds)
    return Result("Training and inference time", text, found, draw(found))
