"""The page's figures, as SVG inside the page itself."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sb3_qflex.run_report.files import RunFiles
from sb3_qflex.zoo.curves import running_mean

SOURCE, FLOW, OTHER = "C0", "C1", "C2"


@dataclass(frozen=True)
class Picture:
    """
    A figure of the page.

    :param title: heading
    :param caption: what is to be seen
    :param data: of an ``<img>``
    :param is_wide: whether it needs the width of the page
    """

    title: str
    caption: str
    data: str
    is_wide: bool = False


def to_data_uri(figure: Figure) -> str:
    """A figure as SVG in a data URI, which needs no file and no network."""
    # A fixed salt and no date: the same run gives the same page.
    with matplotlib.rc_context({"svg.hashsalt": "sb3_qflex"}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _new(title: str, n: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    panels = figure.subplots(1, n, squeeze=False)[0].tolist()
    for axes in panels:
        axes.set(xlabel="Environment steps")
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.locator_params(axis="x", nbins=max(3, 8 // n))
    panels[0].set(title=title)
    return figure, panels


def _lines(run: RunFiles, axes: Axes, keys: dict[str, tuple[str, str]]) -> bool:
    """Draw logged values by key with (label, colour); whether there were any."""
    drawn = False
    for key, (label, colour) in keys.items():
        steps, values = run.values(key)
        if len(steps):
            drawn = True
            axes.plot(steps, values, color=colour, label=label, marker="." if len(steps) < 20 else None)
    if drawn:
        axes.legend(fontsize=8)
    return drawn


def returns(run: RunFiles) -> Picture | None:
    """Training returns and evaluations; None if no episode ended."""
    figure, (axes,) = _new("Episode return")
    curve = run.curve
    if not len(curve.returns) and not len(curve.eval_steps):
        return None
    if len(curve.returns):
        axes.plot(*running_mean(curve), color=SOURCE, label="training, running mean")
    if len(curve.eval_steps):
        low, mean, high = (getattr(np, name)(curve.eval_returns, axis=1) for name in ("min", "mean", "max"))
        axes.errorbar(
            curve.eval_steps, mean, [mean - low, high - mean], fmt="o", ms=4, capsize=2, color=FLOW, label="evaluation"
        )
    axes.legend(fontsize=8)
    caption = (
        "Line: mean of up to 100 training episodes. Points: evaluations, with the range from the worst to the best of "
        "their episodes."
    )
    return Picture("Return", caption, to_data_uri(figure))


def success(run: RunFiles) -> Picture | None:
    """Share of successful episodes; None if the environment does not say."""
    figure, (axes,) = _new("Success rate")
    drawn = _lines(run, axes, {"rollout/success_rate": ("training", SOURCE)})
    if run.eval_successes is not None:
        axes.plot(run.curve.eval_steps, run.eval_successes, "o", ms=4, color=FLOW, label="evaluation")
        axes.legend(fontsize=8)
    elif not drawn:
        return None
    axes.set(ylim=(-0.05, 1.05))
    return Picture("Success", "Share of episodes that the environment calls a success.", to_data_uri(figure))


def losses(run: RunFiles) -> Picture | None:
    """Losses of critics, source policy and velocity field; None if they were not kept."""
    names = [name for name in ("critic", "actor", "flow") if len(run.values(f"train/{name}_loss")[0])]
    if not names:
        return None
    figure, panels = _new("", len(names))
    for axes, name in zip(panels, names, strict=True):
        steps, values = run.values(f"train/{name}_loss")
        axes.plot(steps, values, color=OTHER)
        axes.set(title=f"{name}_loss")
        if name != "actor" and (values > 0).all():
            axes.set(yscale="log")
    return Picture("Losses", "Means since the dump before. actor_loss is minus min Q.", to_data_uri(figure))


def superiority(run: RunFiles) -> Picture | None:
    """Share of states in which the flow improves on its source action; None if it was not logged."""
    figure, (axes,) = _new("Flow superiority")
    if not _lines(run, axes, {"train/flow_superiority": ("flow above source", FLOW)}):
        return None
    axes.axhline(0.5, color="0.5", linestyle="--", linewidth=1)
    axes.set(ylim=(-0.05, 1.05))
    caption = (
        "Share of states where the flow's action has the larger min Q than its source action; 0.5 (dashed) is chance."
    )
    return Picture("Flow superiority", caption, to_data_uri(figure))


def q_values(run: RunFiles) -> Picture | None:
    """Min Q of source and flow actions; None if they were not logged."""
    figure, (axes,) = _new("min Q")
    keys = {"train/q_source": ("source action", SOURCE), "train/q_flow": ("flow action", FLOW)}
    caption = "Values far above the returns that are possible mean that Q is overestimated."
    return Picture("Q values", caption, to_data_uri(figure)) if _lines(run, axes, keys) else None


def movement(run: RunFiles) -> Picture | None:
    """How far the flow moves actions, and what was cut; None if nothing of it was logged."""
    figure, (left, right) = _new("Distance moved", 2)
    right.set(title="Shares")
    distances = {"train/flow_displacement": ("flow", FLOW), "train/guidance_displacement": ("guidance", SOURCE)}
    shares = {"train/clamped_share": ("clamped", FLOW), "train/truncated_share": ("truncated", SOURCE)}
    drawn = [_lines(run, left, distances), _lines(run, right, shares)]
    caption = (
        "Left: mean distance from the source action to the flow's and to the flow target. Right: shares of clamped "
        "coordinates and of truncated guidance steps."
    )
    return Picture("Movement of actions", caption, to_data_uri(figure)) if any(drawn) else None


def of_training(run: RunFiles) -> Sequence[Picture]:
    """The figures that the files of a run have values for."""
    found = (draw(run) for draw in (returns, success, superiority, q_values, losses, movement))
    return [picture for picture in found if picture is not None]
