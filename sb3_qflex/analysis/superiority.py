r"""
Flow superiority over training (paper, Fig. 4): share of states whose executed action has the larger min Q,

.. math:: P_s[\min_i Q_i(s, \mathrm{clip}\, a_\mathrm{flow}) > \min_i Q_i(s, a(0))],

from what a run logged (``progress.csv``, TensorBoard) or, where it logged nothing, from its checkpoints.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.states import states_of
from sb3_qflex.analysis.trained import ModelError, load, what_differs
from sb3_qflex.qflex.metrics import flow_diagnostics
from sb3_qflex.zoo.progress import PROGRESS_FILE

KEYS = ("flow_superiority", "q_source", "q_flow", "flow_displacement")
#: Column of the environment steps in logged values.
STEPS = "time/total_timesteps"


def read_events(folder: Path) -> pd.DataFrame:
    """
    :param folder: one run's folder of TensorBoard event files
    :return: all scalars by tag, one row for each step, with the column :data:`STEPS`
    :raises ImportError: without the package tensorboard
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ImportError("event files need the package tensorboard: pip install tensorboard") from error
    # size_guidance 0: all values instead of a sample.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    series = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    return pd.DataFrame(series).sort_index().rename_axis(STEPS).reset_index()


def _curve(logged: pd.DataFrame) -> pd.DataFrame:
    names = {STEPS: "step", **{f"train/{key}": key for key in KEYS}}
    return logged.rename(columns=names).reindex(columns=["step", *KEYS]).dropna(subset=["step", "flow_superiority"])


def from_progress(folder: Path) -> pd.DataFrame:
    """What the ``progress.csv`` of SB3's logger has: columns ``step`` and :data:`KEYS`; empty without the file."""
    path = folder / PROGRESS_FILE
    return _curve(pd.read_csv(path) if path.is_file() else pd.DataFrame())


def from_tensorboard(folder: Path) -> pd.DataFrame:
    """
    What TensorBoard's event files have, also in folders below: as :func:`from_progress`.

    :raises ModelError: if there are such files and TensorBoard is not installed, or those of several runs
    """
    parents = {file.parent for file in folder.rglob("events.out.tfevents*")}
    if len(parents) > 1:
        names = sorted(map(str, parents))
        raise ModelError(f"{folder} has the logs of several runs: name them one by one: {names}")
    try:
        return _curve(read_events(parents.pop()) if parents else pd.DataFrame())
    except ImportError as error:
        raise ModelError(f"{folder}: {error}") from error


def from_checkpoints(folder: Path, n_states: int = 256, seed: int = 0, n_envs: int = 8) -> pd.DataFrame:
    """
    Each checkpoint of a run folder (``rl_zoo3 train --save-freq``) on ``n_states`` that it visits itself: as
    :func:`from_progress`.
    """
    rows = []
    for path in sorted(folder.glob("rl_model_*_steps.zip"), key=lambda path: int(path.stem.split("_")[2])):
        trained = load(path)
        found = flow_diagnostics(trained.policy, states_of(trained, n_states, seed, n_envs))
        rows.append({"step": trained.model.num_timesteps, **{key: found[key] for key in KEYS}})
    return pd.DataFrame(rows, columns=["step", *KEYS])


def superiority(folder: Path, n_states: int = 256, seed: int = 0, n_envs: int = 8) -> tuple[pd.DataFrame, str]:
    """
    The first of the three sources that has something.

    :param folder: of one run: its logs, or RL Zoo's run folder
    :param n_states: of each checkpoint
    :param seed: of states and noise of checkpoints
    :param n_envs: environments side by side for checkpoints
    :return: columns ``step`` and :data:`KEYS`, and the name of the source
    :raises ModelError: if none has
    """
    sources: dict[str, Callable[[Path], pd.DataFrame]] = {
        "progress.csv": from_progress,
        "TensorBoard": from_tensorboard,
        "checkpoints": lambda one: from_checkpoints(one, n_states, seed, n_envs),
    }
    for name, read in sources.items():
        table = read(folder)
        if len(table):
            return table, name
    raise ModelError(
        f"{folder} has no flow superiority: neither a progress.csv nor TensorBoard's files with "
        "train/flow_superiority, nor checkpoints (rl_model_*_steps.zip) of a QFlex run."
    )


def summarise(curves: pd.DataFrame) -> pd.DataFrame:
    """
    One row for each run: number of points, mean superiority over the first and the last quarter of them.

    ``curves`` has the columns ``run``, ``source``, ``step`` and :data:`KEYS`.
    """
    rows = []
    for (run_name, source), curve in curves.groupby(["run", "source"], sort=False):
        values = curve["flow_superiority"]
        quarter = max(1, len(values) // 4)
        rows.append(
            {
                "run": run_name,
                "from": source,
                "points": len(values),
                "last step": int(curve["step"].max()),
                "mean of first quarter": values.iloc[:quarter].mean(),
                "mean of last quarter": values.iloc[-quarter:].mean(),
                "minimum": values.min(),
            }
        )
    return pd.DataFrame(rows)


def draw(curves: pd.DataFrame) -> Figure:
    """The curves of :func:`summarise`."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in curves.groupby("run", sort=False):
        left.plot(curve["step"], curve["flow_superiority"], label=str(name))
        right.plot(curve["step"], curve["q_flow"] - curve["q_source"], label=str(name))
    left.axhline(0.5, color="0.5", linestyle="--", linewidth=0.8)
    left.set(title="Flow superiority", xlabel="Environment steps", ylabel="share of states", ylim=(0, 1))
    right.set(title="Mean gain of min Q", xlabel="Environment steps", ylabel="q_flow - q_source")
    left.legend(fontsize=8)
    return figure


def run(args: argparse.Namespace) -> Result:
    """Carry out the command, whose ``models`` are folders."""
    names = what_differs(args.models) if len(args.models) > 1 else [str(args.models[0])]
    curves = []
    for folder, name in zip(args.models, names, strict=True):
        if not folder.is_dir():
            raise ModelError(f"{folder} is no folder: give that of a run, or of its logs.")
        table, source = superiority(folder, args.states, args.seed, args.n_envs)
        curves.append(table.assign(run=name, source=source))
    joined = pd.concat(curves, ignore_index=True)
    text = (
        "Share of states whose flowed, clamped action has a larger min Q than the source action it began with; 0.5 is "
        "chance. Logs use the last batch of each dump, checkpoints the states that they visit themselves."
    )
    return Result("Flow superiority over training", text, summarise(joined), draw(joined), {"curves": joined})
