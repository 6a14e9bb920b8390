"""Sensitivity of a trained model to K at inference, and of the flow target on its critics to N and eta (paper, Fig. 5).

The paper retrains for each value. Here nothing is trained: K is changed when acting, and N and eta only where they
enter, in the gradient ascent on the critics that the model has. How they change learning is a study of trainings.
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from itertools import product

import numpy as np
import pandas as pd
import torch as th
from matplotlib.figure import Figure
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.acting import flow, q_of
from sb3_qflex.analysis.episodes import draw_returns, explored_episodes, summarise
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.trained import load_one
from sb3_qflex.qflex.policies import QFlexPolicy


def guidance_grid(policy: QFlexPolicy, obs: PyTorchObs, steps: Sequence[int], sizes: Sequence[float]) -> pd.DataFrame:
    """
    The flow target on the model's critics for each N and eta, from the same source samples.

    :param policy: of a QFlex model
    :param obs: states, (S, ...)
    :param steps: values of N
    :param sizes: values of eta
    :return: by N and eta: gain of mean min Q of the target clamped to the box, mean ||a(1) - a(0)||, share of
        coordinates of a(1) outside of the box, share of truncated steps
    """
    policy, rows = deepcopy(policy), []
    with th.no_grad(), th.random.fork_rng(devices=[]):
        source_actions = policy.source(obs)
        q_source = policy.min_q(obs, source_actions)
        diameter = 2.0 * source_actions.shape[1] ** 0.5
        for n_steps, step_size in product(steps, sizes):
            policy.guidance_steps, policy.guidance_step_size = n_steps, step_size
            guidance = policy.ascend(obs, source_actions)
            target = guidance.target_actions
            gain = policy.min_q(obs, target.clamp(-1.0, 1.0)) - q_source
            rows.append(
                {
                    "N": n_steps,
                    "eta": step_size,
                    "gain of min Q": float(gain.mean()),
                    "guidance displacement": float((target - source_actions).norm(dim=1).mean()),
                    "share outside the box": float((target.abs() > 1.0).double().mean()),
                    "truncated share": float((step_size * guidance.step_norms > diameter).double().mean()),
                }
            )
    return pd.DataFrame(rows)


def draw(episodes: pd.DataFrame, grid: pd.DataFrame) -> Figure:
    """Returns of the episodes of each K, and two maps of :func:`guidance_grid`."""
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    returns, gain, displacement = figure.subplots(1, 3)
    draw_returns(returns, episodes, "Return by K at inference, same seeds")
    for axes, column in ((gain, "gain of min Q"), (displacement, "guidance displacement")):
        values = grid.pivot(index="N", columns="eta", values=column)
        image = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis")
        axes.set_xticks(range(values.shape[1]), [f"{eta:g}" for eta in values.columns])
        axes.set_yticks(range(values.shape[0]), [str(n) for n in values.index])
        for (row, col), value in np.ndenumerate(values.to_numpy()):
            colour = "k" if image.norm(value) > 0.6 else "w"
            axes.text(col, row, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=8)
        axes.set(title=f"Flow target: {column}", xlabel="eta", ylabel="N")
        figure.colorbar(image, ax=axes)
    return figure


def run(args: argparse.Namespace) -> Result:
    """
    Carry out the command.

    :raises ValueError: for a step size that is not positive
    """
    if min(args.eta) <= 0.0:
        raise ValueError(f"guidance step sizes are positive, got {args.eta}")
    trained = load_one(args.models, args.env, args.algo)
    policy = trained.flow_policy
    cases = {f"K = {k}": flow(policy, k) for k in sorted({*args.K, policy.flow_steps})}
    episodes, obs = explored_episodes(trained, cases, args)
    grid = guidance_grid(policy, obs, sorted(set(args.N)), sorted(set(args.eta)))
    own = f"N = {policy.guidance_steps}, eta = {policy.guidance_step_size:g}, K = {policy.flow_steps}"
    text = (
        f"{trained.label} on {trained.task.env_id}, trained with {own}. The table has the return of each K at "
        f"inference on the same episode seeds; `sensitivity-guidance.csv` and the two maps have the flow target on "
        f"the trained critics, from source samples at {args.states} visited states. Nothing is retrained: how N and "
        "eta change learning is not shown here. The spread is over episodes of one model."
    )
    q = q_of(policy, obs, cases)[["case", "mean min Q"]]
    summary = summarise(episodes, f"K = {policy.flow_steps}").merge(q, on="case")
    title = "Sensitivity to K at inference, and of the flow target to N and eta"
    return Result(title, text, summary, draw(episodes, grid), {"guidance": grid, "episodes": episodes})
