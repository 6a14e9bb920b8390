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
from sb3_qflex.analysis.states import visited_states
from sb3_qflex.analysis.trained import ModelError, checkpoints, load, what_differs
from sb3_qflex.qflex.metrics import flow_diagnostics

KEYS = ("flow_superiority", "q_source", "q_flow", "flow_displacement")
_STEPS = "time/total_timesteps"


def from_progress(folder: Path) -> pd.DataFrame:
    """
    :param folder: with a ``progress.csv`` of SB3's logger; empty result without
    :return: columns ``step`` and :data:`KEYS`
    """
    if not (folder / "progress.csv").is_file():
        return _empty()
    table = pd.read_csv(folder / "progress.csv")
    names = {_STEPS: "step", **{f"train/{key}": key for key in KEYS}}
    if not {_STEPS, "train/flow_superiority"} <= set(table.columns):
        return _empty()
    return table.rename(columns=names).reindex(columns=["step", *KEYS]).dropna(subset=["flow_superiority"])


def from_tensorboard(folder: Path) -> pd.DataFrame:
    """
    :param folder: with TensorBoard's event files, also in folders below; empty result without
    :return: columns ``step`` and :data:`KEYS`
    :raises ModelError: if there are such files and TensorBoard is not installed, or those of several runs
    """
    files = sorted(folder.rglob("events.out.tfevents*"))
    if not files:
        return _empty()
    parents = {file.parent for file in files}
    if len(parents) > 1:
        raise ModelError(f"{folder} has the logs of several runs: name them one by one: {sorted(map(str, parents))}")
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ModelError(f"{folder} has TensorBoard's files: `pip install tensorboard` reads them") from error
    events = EventAccumulator(str(files[0].parent), size_guidance={"scalars": 0})
    events.Reload()
    known = set(events.Tags()["scalars"])
    series = {
        key: {event.step: event.value for event in events.Scalars(f"train/{key}")}
        for key in KEYS
        if f"train/{key}" in known
    }
    table = pd.DataFrame(series, columns=list(KEYS)).sort_index()
    return table.rename_axis("step").reset_index().dropna(subset=["flow_superiority"])


def from_checkpoints(folder: Path, n_states: int = 256, seed: int = 0, n_envs: int = 8) -> pd.DataFrame:
    """
    Each checkpoint on states that it visits itself.

    :param folder: run folder with checkpoints (``rl_zoo3 train --save-freq``); empty result without
    :param n_states: states for each
    :param seed: of states and noise
    :param n_envs: environments side by side
    :return: columns ``step`` and :data:`KEYS`
    """
    rows = []
    for path in checkpoints(folder):
        trained = load(path)
        env = trained.task.make(n_envs, seed)
        obs = visited_states(trained.policy, env, n_states, seed)
        env.close()
        found = flow_diagnostics(trained.policy, obs)
        rows.append({"step": trained.model.num_timesteps, **{key: found[key] for key in KEYS}})
    return pd.DataFrame(rows, columns=["step", *KEYS])


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=["step", *KEYS])


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
    :param curves: columns ``run``, ``source``, ``step`` and :data:`KEYS`
    :return: one row for each run: number of points, mean superiority over the first and the last quarter of them
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
    """
    :param curves: as in :func:`summarise`
    """
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
    """
    :param args: of the command; ``models`` are folders
    """
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
