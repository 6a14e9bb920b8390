"""Learning curves of RL Zoo run folders: training returns from the monitor files, evaluations as points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.results_plotter import X_TIMESTEPS, ts2xy, window_func

from sb3_qflex.zoo.task_steps import task_steps_of_run

#: Episodes of the running mean, and of the "last episodes" of a summary.
WINDOW = 100


@dataclass(frozen=True)
class Run:
    """
    What one training run left in its folder.

    :param label: the run's name in a legend
    :param steps: environment steps at the end of each training episode, shape (episodes,)
    :param returns: return of each training episode, shape (episodes,)
    :param eval_steps: environment steps at each evaluation, shape (evaluations,)
    :param eval_returns: return of each evaluation episode, shape (evaluations, episodes per evaluation)
    """

    label: str
    steps: np.ndarray
    returns: np.ndarray
    eval_steps: np.ndarray
    eval_returns: np.ndarray


def load_run(folder: Path, label: str | None = None) -> Run:
    """
    Training episodes and evaluations (both may be empty) of a run folder of RL Zoo.

    :param label: name for legends, "<algorithm> <folder>" by default
    :raises LoadMonitorResultsError: if there are no monitor files
    """
    steps, returns = ts2xy(load_results(str(folder)), X_TIMESTEPS)
    eval_steps, eval_returns = np.empty(0), np.empty((0, 0))
    if (folder / "evaluations.npz").is_file():
        with np.load(folder / "evaluations.npz") as evaluations:
            # Monitors count steps of the task, evaluations those of the model.
            eval_steps, eval_returns = task_steps_of_run(folder, evaluations["timesteps"]), evaluations["results"]
    label = label or f"{folder.resolve().parent.name} {folder.name}"
    return Run(label, np.asarray(steps, float), np.asarray(returns, float), eval_steps, eval_returns)


def running_mean(run: Run, window: int = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps and mean returns; a window of at most a fifth of the run, so that a short one has a curve."""
    window = max(1, min(window, len(run.returns) // 5))
    return window_func(run.steps, run.returns, window, np.mean)


def draw(runs: Sequence[Run], title: str, path: Path) -> Path:
    """Draw runs into one PNG, whose path is returned. Runs of one label share a colour."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    colours = {label: f"C{number}" for number, label in enumerate(dict.fromkeys(run.label for run in runs))}
    for run in runs:
        _draw_run(axes, run, colours[run.label])
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(unique.values(), unique.keys())
    axes.set(title=title, xlabel="Environment steps", ylabel="Episode return (line: training; points: evaluation)")
    figure.savefig(path, dpi=150)
    return path


def _draw_run(axes: Axes, run: Run, colour: str) -> None:
    if len(run.returns):
        axes.plot(*running_mean(run), color=colour, label=run.label)
    if len(run.eval_steps):
        axes.plot(run.eval_steps, run.eval_returns.mean(axis=1), "o", color=colour, markersize=4)
