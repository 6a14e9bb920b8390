r"""
Correlation of the exploration noise across actuators (paper, Fig. 9), beside the Gaussian source's.

The noise is the executed action minus its mean over M samples of a(0) at the same state. Its covariance is pooled over
S states,

.. math:: C = \frac{1}{S (M - 1)} \sum_{s, m} (a_{s m} - \bar a_s)(a_{s m} - \bar a_s)^\top,

and the correlation is :math:`C_{ij} / \sqrt{C_{ii} C_{jj}}`. The source's coordinates are independent given the state,
so what its matrix shows off the diagonal is the sampling error.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch as th
import yaml
from matplotlib.figure import Figure
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.actuators import actuator_names, groups
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.states import each_array, visited_states
from sb3_qflex.analysis.trained import load_one
from sb3_qflex.common.validation import check_count
from sb3_qflex.qflex.policies import QFlexPolicy


@dataclass(frozen=True)
class NoiseCorrelation:
    """
    Correlation matrices (|A|, |A|); NaN where a coordinate does not vary.

    :param flow: of the executed actions
    :param source: of the source actions they began with
    """

    flow: np.ndarray
    source: np.ndarray


def noise_correlation(policy: QFlexPolicy, obs: PyTorchObs, n_samples: int) -> NoiseCorrelation:
    """
    :param policy: of a QFlex model; its own exploration is looked at
    :param obs: states, (S, ...)
    :param n_samples: M, samples of the source policy at each state, at least 2
    :raises ValueError: if it is less
    """
    check_count("n_samples", n_samples, 2)
    repeated = each_array(lambda values: values.repeat_interleave(n_samples, dim=0), obs)
    with th.no_grad():
        source_actions = policy.source(repeated)
        actions = policy.explore(repeated, source_actions).clamp(-1.0, 1.0)
    return NoiseCorrelation(*(pooled_correlation(a.view(-1, n_samples, a.shape[1])) for a in (actions, source_actions)))


def pooled_correlation(samples: th.Tensor) -> np.ndarray:
    """Correlation (|A|, |A|) of the deviations of M samples from their mean at each of S states, (S, M, |A|)."""
    deviations = (samples - samples.mean(dim=1, keepdim=True)).flatten(0, 1).double()
    covariance = (deviations.T @ deviations).cpu().numpy()
    deviation = np.sqrt(np.diag(covariance))
    # Constant but for rounding: no correlation is defined.
    deviation[deviation <= 1e-6 * max(deviation.max(initial=0.0), 1e-300)] = np.nan
    return covariance / np.outer(deviation, deviation)


def mean_absolute(matrix: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """Mean |correlation| of pairs within and between the groups of the coordinates; NaN where there is no such pair."""
    found = np.isfinite(matrix)
    masks = {name: pairs & found for name, pairs in pairs_of(labels).items()}
    return {name: float(np.abs(matrix[mask]).mean()) if mask.any() else float("nan") for name, mask in masks.items()}


def pairs_of(labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Which pairs of coordinates i < j are "within" one group and which are "between" two, (|A|, |A|) booleans."""
    same = np.equal.outer(*2 * [np.unique(labels, return_inverse=True)[1]])
    return {"within": np.triu(same, k=1), "between": np.triu(~same, k=1)}


def table(found: NoiseCorrelation, labels: Sequence[str]) -> pd.DataFrame:
    """One row for the executed actions and one for the source's; ``labels`` are the groups of the coordinates."""
    pairs = {f"pairs {name}": int(mask.sum()) for name, mask in pairs_of(labels).items()}
    rows = [
        {
            "noise": name,
            "groups": len(set(labels)),
            **pairs,
            **{f"mean abs. correlation {where}": value for where, value in mean_absolute(matrix, labels).items()},
            "coordinates without noise": int(np.isnan(np.diag(matrix)).sum()),
        }
        for name, matrix in (("executed", found.flow), ("source", found.source))
    ]
    return pd.DataFrame(rows)


def draw(found: NoiseCorrelation, labels: Sequence[str]) -> Figure:
    """Both matrices, with the coordinates ordered by group and a line between groups of more than one."""
    order = np.argsort(np.asarray(labels), kind="stable")
    ordered = [labels[index] for index in order]
    starts = [i for i in range(1, len(ordered)) if ordered[i] != ordered[i - 1]]
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, matrix in zip(panels, ("Executed", "Gaussian source"), (found.flow, found.source), strict=True):
        image = axes.imshow(matrix[np.ix_(order, order)], vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        if len(starts) < len(labels) - 1:
            for start in starts:
                axes.axhline(start - 0.5, color="0.6", linewidth=0.3)
                axes.axvline(start - 0.5, color="0.6", linewidth=0.3)
        axes.set(title=name, xlabel="actuator", ylabel="actuator, ordered by group")
    figure.colorbar(image, ax=panels, label="correlation of the noise")
    return figure


def run(args: argparse.Namespace) -> Result:
    """Carry out the command."""
    trained = load_one(args.models, args.env, args.algo)
    with closing(trained.task.make(args.n_envs, args.seed)) as env:
        obs = visited_states(trained.policy, env, args.states, args.seed)
        names = actuator_names(env)
    patterns = yaml.safe_load(args.groups.read_text()) if args.groups else None
    found = noise_correlation(trained.policy, obs, args.samples)
    action_dim = len(found.flow)
    labels = groups(names, action_dim, patterns)
    names = names or [str(index) for index in range(action_dim)]
    text = (
        f"{trained.label} on {trained.task.env_id}: noise over {args.samples} source samples at each of {args.states} "
        "states that it visits. The source's coordinates are independent given the state: its values are the sampling "
        "error."
    )
    if len(set(labels)) == action_dim:
        text += " The names of the actuators give no group of more than one."
    matrix = pd.DataFrame(found.flow, columns=names)
    matrix.insert(0, "actuator", names)
    details = {"matrix": matrix, "groups": pd.DataFrame({"actuator": names, "group": labels})}
    title = "Correlation of the exploration noise across actuators"
    return Result(title, text, table(found, labels), draw(found, labels), details)
