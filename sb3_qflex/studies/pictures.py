"""Figures of the report of a study."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sb3_qflex.studies.definition import Study, Task, folder_name
from sb3_qflex.studies.extraction import BINS
from sb3_qflex.studies.results import Curve, Results, RunResult, by_system
from sb3_qflex.studies.statistics import interquartile_mean

LEGEND_WIDTH = 170  # small letters across a figure, 8 of them for the line before each name

_Line = tuple[Curve, Curve]


def draw_study(results: Results) -> dict[str, tuple[str, bytes]]:
    """
    :param results: what there is of the study
    :return: file name and PNG by task; under "" that of the return against the number of actions, where it varies
    """
    pictures = {}
    if varies_actions(results.study):
        pictures[""] = ("scale.png", _png(_draw_scale(results)))
    for task in results.study.tasks:
        if runs := results.of_task(task):
            pictures[task.name] = (f"{folder_name(task.name)}.png", _png(_draw_task(task, runs, results.systems)))
    return pictures


def varies_actions(study: Study) -> bool:
    """Whether a study's tasks are one environment with different numbers of actions."""
    numbers = {task.actions for task in study.tasks}
    return len(numbers) == len(study.tasks) > 1 and None not in numbers and len({task.env for task in study.tasks}) == 1


def _png(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return png.getvalue()


def _draw_task(task: Task, runs: Mapping[str, list[RunResult]], systems: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    (evaluation, training), (clock, last) = figure.subplots(2, 2)
    together = [run for found in runs.values() for run in found]
    panel, alike = _last_panel(together), by_system(together)
    compared = max(alike, key=lambda system: len(alike[system]))
    for colour, (label, found) in zip(palette(len(runs)), runs.items(), strict=True):
        name = f"{label} (n = {len(found)})"
        curves = [run.evaluations for run in found]
        _draw_lines(evaluation, [(one["steps"], one["return mean"]) for one in curves], colour, name)
        _draw_lines(training, [_training(run) for run in found], colour, name)
        timed = [run.evaluations for run in found if run.system == compared]
        _draw_lines(clock, [(one["training seconds"] / 60, one["return mean"]) for one in timed], colour, name)
        if panel is not None:
            _draw_lines(last, [(one["steps"], one[panel[0]]) for one in curves], colour, name)
    evaluation.set(title="Evaluation", xlabel="environment steps", ylabel="return")
    training.set(title="Training episodes", xlabel="environment steps", ylabel="return")
    alone = f", system {systems[compared]} alone" if systems else ""
    clock.set(title=f"Evaluation against time{alone}", xlabel="minutes of training", ylabel="return")
    if panel is None:
        last.remove()
    else:
        last.set(title=panel[1], xlabel="environment steps", ylabel=panel[2])
    # Below the curves: with several algorithms it would cover some of them. As many columns as the width has room for.
    handles, names = evaluation.get_legend_handles_labels()
    columns = max(1, min(len(names), 4, LEGEND_WIDTH // (max(map(len, names)) + 8)))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize="small" if columns < 4 else None)
    figure.suptitle(f"{task.env}: interquartile mean over n seeds; thin: single runs")
    return figure


def _last_panel(runs: Sequence[RunResult]) -> tuple[str, str, str] | None:
    """Column, title and unit: success, or the length of episodes where there was none; None where both are constant."""
    success, length = (
        np.concatenate([run.evaluations[name] for run in runs]) for name in ("success rate", "length mean")
    )
    if np.nan_to_num(success).any():
        return "success rate", "Success in evaluation", "rate"
    return ("length mean", "Length of evaluation episodes", "environment steps") if np.ptp(length) else None


def palette(size: int) -> list[str]:
    """So many colours: matplotlib's usual ones, or evenly along a colour map if there are more than ten."""
    colours = colormaps["tab10"](range(size)) if size <= 10 else colormaps["turbo"](np.linspace(0, 1, size))
    return [to_hex(colour) for colour in colours]


def _training(run: RunResult) -> _Line:
    """Over all parts of the budget; NaN before the first episode ended, between two others on the line."""
    edges = np.linspace(0, run.budget, BINS + 1)[1:]
    steps, returns = run.training["steps"], run.training["return mean"]
    if not len(steps):
        return edges, np.full(BINS, np.nan)
    return edges, np.interp(edges, steps, returns, left=np.nan)


def _draw_lines(axes: Axes, lines: Sequence[_Line], colour: str, label: str) -> None:
    """Single runs thin; their interquartile mean thick, at the mean position, with its interval if there is one."""
    lines = [(x, y) for x, y in lines if not np.isnan(y).all()]
    if not lines:
        return
    for x, y in lines:
        axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.5)
    points = min(len(x) for x, _ in lines)
    x = np.mean([x[:points] for x, _ in lines], axis=0)
    estimate = interquartile_mean(np.stack([y[:points] for _, y in lines]))
    axes.plot(x, estimate.value, color=colour, linewidth=2, label=label)
    if estimate.low is not None and estimate.high is not None:
        axes.fill_between(x, estimate.low, estimate.high, color=colour, alpha=0.2, linewidth=0)


def _draw_scale(results: Results) -> Figure:
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    contenders = results.study.contenders
    for colour, contender in zip(palette(len(contenders)), contenders, strict=True):
        runs = [(task.actions or 0, results.of(task, contender.label)) for task in results.study.tasks]
        if found := [(actions, made) for actions, made in runs if made]:
            _draw_scale_line(axes, found, colour, contender.label)
    axes.set(xscale="log", xlabel="number of actions", ylabel="evaluation return at the end of the budget")
    axes.set_title(f"{results.study.budget:,} environment steps")
    axes.legend()
    return figure


def _draw_scale_line(axes: Axes, found: Sequence[tuple[int, Sequence[RunResult]]], colour: str, label: str) -> None:
    finals = [[run.final("return mean") for run in runs] for _, runs in found]
    for (actions, _), values in zip(found, finals, strict=True):
        axes.plot([actions] * len(values), values, ".", color=colour, alpha=0.5)
    estimates = [interquartile_mean(values) for values in finals]
    fewest, most = min(map(len, finals)), max(map(len, finals))
    seeds = str(most) if fewest == most else f"{fewest} to {most}"
    x = [actions for actions, _ in found]
    axes.plot(x, [one.value for one in estimates], "-", color=colour, linewidth=2, label=f"{label} (n = {seeds})")
    for actions, one in zip(x, estimates, strict=True):
        if one.low is not None and one.high is not None:
            axes.plot([actions, actions], [one.low, one.high], "-", color=colour, linewidth=3, alpha=0.4)
