"""Muscle activation energy of models on one task, over all episodes and at equal return (paper, Table 4)."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
from gymnasium.utils import RecordConstructorArgs
from matplotlib.figure import Figure

from sb3_qflex.analysis.acting import predictor
from sb3_qflex.analysis.episodes import at_the_end, run_episodes
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.trained import Trained, case_of, load_all, one_task

ENERGY = "energy"


class ActivationEnergy(gym.Wrapper, RecordConstructorArgs):
    """
    Adds ``info["energy"]``, the sum over actuators and the steps of the episode so far of the activation at the end of
    a step (MuJoCo's ``data.act``), or of the squared actions where the model has no activations.

    :param env: any environment
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.uses_activation = _activation(env) is not None
        self._energy = 0.0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """As the wrapped environment."""
        self._energy = 0.0
        return self.env.reset(**options)

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the wrapped environment, with the entry in info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        activation = _activation(self.env) if self.uses_activation else None
        energy = np.square(np.asarray(action, dtype=np.float64)).sum() if activation is None else activation.sum()
        self._energy += float(energy)
        return observation, reward, terminated, truncated, {**info, ENERGY: self._energy}


def _activation(env: gym.Env) -> np.ndarray | None:
    activation = getattr(getattr(env.unwrapped, "data", None), "act", None)
    return activation if activation is not None and len(activation) else None


def energy_episodes(
    models: Sequence[Trained],
    n_episodes: int,
    seed: int,
    n_envs: int,
    deterministic: bool = True,
    pool_seeds: bool = False,
) -> tuple[pd.DataFrame, str]:
    """
    Episodes of each model on the same seeds.

    :param models: any algorithms, all of one environment id
    :param n_episodes: of each
    :param seed: of the first episode
    :param n_envs: environments side by side
    :param deterministic: as in ``predict``
    :param pool_seeds: whether models that differ in a folder ``seed<k>`` alone are one case
    :return: columns ``case``, ``model``, ``seed``, ``return``, ``length``, ``energy``; and what the energy is
    :raises ModelError: if they are of several environments
    """
    one_task(models)
    frames, uses = [], False
    for one in models:
        with closing(one.task.make(n_envs, seed, [ActivationEnergy])) as env:
            uses = all(env.get_attr("uses_activation"))
            played = run_episodes(predictor(one.model, deterministic), env, n_episodes, seed, at_end=[ENERGY])
            episodes = played.rename(columns={at_the_end(ENERGY): ENERGY})
            frames.append(episodes.assign(case=case_of(one, pool_seeds), model=one.label))
    meaning = "activation (MuJoCo's data.act), summed" if uses else "squared actions, summed: there is no activation"
    return pd.concat(frames, ignore_index=True), f"{meaning} over actuators and steps"


def summarise(episodes: pd.DataFrame) -> pd.DataFrame:
    """One row for each case of :func:`energy_episodes`, over all episodes of its models."""
    grouped = episodes.assign(per_step=episodes[ENERGY] / episodes["length"]).groupby("case", sort=False)
    values = grouped[["return", ENERGY, "per_step"]]
    means, spreads = values.mean(), values.std(ddof=0)
    columns = {
        "models": grouped["model"].nunique(),
        "episodes": grouped.size(),
        "mean return": means["return"],
        "std of return": spreads["return"],
        "mean energy": means[ENERGY],
        "std of energy": spreads[ENERGY],
        "mean energy per step": means["per_step"],
    }
    return pd.DataFrame(columns).rename_axis("model").reset_index()


def match_by_return(episodes: pd.DataFrame, n_bins: int) -> pd.DataFrame:
    """
    Energy of episodes of about equal return: bins are quantiles of the returns of all models together.

    :param episodes: from :func:`energy_episodes`
    :param n_bins: at least 1
    :return: one row for each bin that has episodes of at least two models, and model in it; ``relative`` is the
        energy divided by that of the first of these models
    """
    inner = np.unique(np.quantile(episodes["return"], np.linspace(0.0, 1.0, n_bins + 1)))[1:-1]
    bins = episodes.groupby(np.searchsorted(inner, episodes["return"], side="right"))
    rows = []
    for _, members in bins:
        models = members.groupby("case", sort=False)
        means = models[["return", ENERGY]].mean()
        columns = {
            "lowest return": members["return"].min(),
            "highest return": members["return"].max(),
            "model": means.index,
            "episodes": models.size(),
            "mean return": means["return"],
            "mean energy": means[ENERGY],
            "relative": means[ENERGY] / means[ENERGY].iloc[0],
        }
        # A bin of one model keeps no row, but its columns.
        rows.append(pd.DataFrame(columns).iloc[: 0 if models.ngroups < 2 else None])
    return pd.concat(rows, ignore_index=True)


def draw(episodes: pd.DataFrame, matched: pd.DataFrame) -> Figure:
    """Episodes of :func:`energy_episodes` beside the bins of :func:`match_by_return`."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, case in enumerate(episodes["case"].unique()):
        own, bins = episodes[episodes["case"] == case], matched[matched["model"] == case]
        left.plot(own["return"], own[ENERGY], "o", color=f"C{number}", markersize=4, alpha=0.6, label=case)
        right.plot(bins["mean return"], bins["mean energy"], "o-", color=f"C{number}", label=case)
    left.set(title="Episodes", xlabel="Episode return", ylabel="Energy of the episode")
    right.set(title="Bins of equal return", xlabel="Mean return in the bin", ylabel="Mean energy")
    left.legend(fontsize=8)
    return figure


def run(args: argparse.Namespace) -> Result:
    """Carry out the command."""
    models = load_all(args.models, args.env, args.algo)
    episodes, meaning = energy_episodes(
        models, args.episodes, args.seed, args.n_envs, not args.stochastic, args.pool_seeds
    )
    matched = match_by_return(episodes, args.bins)
    text = (
        f"Energy is the {meaning} of an episode on {models[0].task.env_id}. Every model on the same episode seeds. "
        f"`energy-matched.csv` and the right panel compare episodes of about equal return: {args.bins} quantile bins "
        f"of all returns, of which {matched['lowest return'].nunique()} have episodes of two models or more."
    )
    details = {"matched": matched, "episodes": episodes}
    return Result("Energy at equal return", text, summarise(episodes), draw(episodes, matched), details)
