r"""
Correlation of the exploration noise across actuators (paper, Fig. 9), of models of any algorithm.

The noise is the executed action minus its mean over M samples at the same state. Its covariance is pooled over S
states,

.. math:: C = \frac{1}{S (M - 1)} \sum_{s, m} (a_{s m} - \bar a_s)(a_{s m} - \bar a_s)^\top,

and the correlation is :math:`C_{ij} / \sqrt{C_{ii} C_{jj}}`. "Shuffled" is the same of the same samples with each
actuator's in an order of its own: what it shows off the diagonal is the sampling error. For QFlex "source" is that of
the actions a(0) that the executed ones began with.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch as th
import yaml
from matplotlib.figure import Figure
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.acting import predictor
from sb3_qflex.analysis.actuators import actuator_names, groups
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.states import visited_states
from sb3_qflex.analysis.trained import Trained, case_of, load_all, one_task
from sb3_qflex.common.each_array import each_array
from sb3_qflex.common.validation import check_count
from sb3_qflex.qflex.policies import QFlexPolicy

EXECUTED = "executed"
_COLUMNS = 3


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
    return NoiseCorrelation(*map(pooled_correlation, _flow_samples(policy, obs, n_samples).values()))


def correlations(model: BaseAlgorithm, obs: PyTorchObs, n_samples: int, seed: int) -> dict[str, np.ndarray]:
    """
    Matrices (|A|, |A|) by name: "executed", for QFlex "source", and "shuffled".

    :param model: of any algorithm; what explores is its policy, ``predict(deterministic=False)``
    :param obs: states, (S, ...)
    :param n_samples: M, samples at each state, at least 2
    :param seed: of the shuffling
    :raises ValueError: if they are less
    """
    policy = model.policy
    if isinstance(policy, QFlexPolicy):
        samples = _flow_samples(policy, obs, n_samples)
    else:
        samples = _predicted_samples(policy, obs, n_samples)
    shuffled = np.random.default_rng(seed).permuted(samples[EXECUTED].cpu().numpy(), axis=1)
    return {name: pooled_correlation(one) for name, one in {**samples, "shuffled": th.as_tensor(shuffled)}.items()}


def _flow_samples(policy: QFlexPolicy, obs: PyTorchObs, n_samples: int) -> dict[str, th.Tensor]:
    """Executed and source actions, (S, M, |A|)."""
    check_count("n_samples", n_samples, 2)
    repeated = each_array(lambda values: values.repeat_interleave(n_samples, dim=0), obs)
    with th.no_grad():
        source_actions = policy.source(repeated)
        actions = policy.explore(repeated, source_actions).clamp(-1.0, 1.0)
    found = {EXECUTED: actions, "source": source_actions}
    return {name: one.view(-1, n_samples, one.shape[1]) for name, one in found.items()}


def _predicted_samples(policy: BasePolicy, obs: PyTorchObs, n_samples: int) -> dict[str, th.Tensor]:
    check_count("n_samples", n_samples, 2)
    repeated = each_array(lambda values: values.repeat_interleave(n_samples, dim=0).cpu().numpy(), obs)
    actions = th.as_tensor(predictor(policy, deterministic=False)(repeated)).flatten(1)
    return {EXECUTED: actions.view(-1, n_samples, actions.shape[1])}


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


def table(found: Mapping[str, np.ndarray], labels: Sequence[str]) -> pd.DataFrame:
    """One row for each matrix of :func:`correlations`; ``labels`` are the groups of the coordinates."""
    pairs = {f"pairs {name}": int(mask.sum()) for name, mask in pairs_of(labels).items()}
    rows = [
        {
            "noise": name,
            "groups": len(set(labels)),
            **pairs,
            **{f"mean abs. correlation {where}": value for where, value in mean_absolute(matrix, labels).items()},
            "coordinates without noise": int(np.isnan(np.diag(matrix)).sum()),
        }
        for name, matrix in found.items()
    ]
    return pd.DataFrame(rows)


def pool(tables: pd.DataFrame) -> pd.DataFrame:
    """
    Means over the models of a case.

    :param tables: :func:`table` of each model, with a column ``case`` in front
    :return: one row for each case and noise, with the number of its models
    """
    grouped = tables.groupby(["case", "noise"], sort=False)
    means = [name for name in tables if "correlation" in name or "without" in name]
    rest = [name for name in tables if name not in ("case", "noise", *means)]
    columns = {"models": grouped.size()}
    for names, values in ((rest, grouped[rest].first()), (means, grouped[means].mean())):
        columns |= {name: values[name] for name in names}
    return pd.DataFrame(columns).reset_index().rename(columns={"case": "model"})


def draw(found: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Matrices by title, with the coordinates ordered by group and a line between groups of more than one."""
    order = np.argsort(np.asarray(labels), kind="stable")
    ordered = [labels[index] for index in order]
    starts = [i for i in range(1, len(ordered)) if ordered[i] != ordered[i - 1]]
    columns, rows = min(len(found), _COLUMNS), -(-len(found) // _COLUMNS)
    figure = Figure(figsize=(1 + 5 * columns, 5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(found) :]:
        axes.remove()
    for axes, (name, matrix) in zip(panels, found.items(), strict=False):
        image = axes.imshow(matrix[np.ix_(order, order)], vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        if len(starts) < len(labels) - 1:
            for start in starts:
                axes.axhline(start - 0.5, color="0.6", linewidth=0.3)
                axes.axvline(start - 0.5, color="0.6", linewidth=0.3)
        axes.set(title=name, xlabel="actuator", ylabel="actuator, ordered by group")
    figure.colorbar(image, ax=list(panels[: len(found)]), label="correlation of the noise")
    return figure


def _of(trained: Trained, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """Matrices of one model, and the names of the actuators."""
    with closing(trained.task.make(args.n_envs, args.seed)) as env, th.random.fork_rng(devices=[]):
        th.manual_seed(args.seed)
        obs = visited_states(trained.model.policy, env, args.states, args.seed)
        return correlations(trained.model, obs, args.samples, args.seed), actuator_names(env)


def _details(
    tables: Sequence[pd.DataFrame], models: Sequence[Trained], matrices: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """The matrix of the only case, for several are no file to keep; and the table of each model."""
    details = {}
    if len(matrices) == 1:
        details["matrix"] = pd.DataFrame(*matrices.values(), columns=names)
        details["matrix"].insert(0, "actuator", names)
    if len(models) > 1:
        rows = [one.drop(columns="case").assign(model=model.label) for one, model in zip(tables, models, strict=True)]
        details["models"] = pd.concat(rows, ignore_index=True)
    return details


def run(args: argparse.Namespace) -> Result:
    """Carry out the command."""
    patterns = yaml.safe_load(args.groups.read_text()) if args.groups else None
    models = load_all(args.models, args.env, args.algo)
    env_id = one_task(models)
    looked = [_of(one, args) for one in models]
    names, action_dim = looked[0][1], len(looked[0][0][EXECUTED])
    labels = groups(names, action_dim, patterns)
    text = (
        f"Noise of {len(models)} model(s) on {env_id}: {args.samples} samples at each of {args.states} states that a "
        "model visits with it. *Executed* is what its policy draws (what interrupts a policy in training, as DEP does, "
        "is no part of it); *shuffled* has each actuator's samples in an order of its own, so that its values are the "
        "sampling error."
    )
    if len(set(labels)) == action_dim:
        text += " The names of the actuators give no group of more than one."
    names = names or [str(index) for index in range(action_dim)]
    cases = [case_of(one, args.pool_seeds) for one in models]
    tables = [table(found, labels).assign(case=case) for case, (found, _) in zip(cases, looked, strict=True)]
    matrices: dict[str, np.ndarray] = {}
    for case in dict.fromkeys(cases):
        own = [found[EXECUTED] for other, (found, _) in zip(cases, looked, strict=True) if other == case]
        matrices[case] = np.ma.masked_invalid(own).mean(axis=0).filled(np.nan)
    details = _details(tables, models, matrices, names)
    details["groups"] = pd.DataFrame({"actuator": names, "group": labels})
    picture = draw(looked[0][0] if len(models) == 1 else matrices, labels)
    title = "Correlation of the exploration noise across actuators"
    return Result(title, text, pool(pd.concat(tables, ignore_index=True)), picture, details)
