"""Episodes of several ways to act on the same seeds, and what their returns tell."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import torch as th
from matplotlib.axes import Axes
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.analysis.acting import Act, Explore, explorer
from sb3_qflex.analysis.states import visited_states
from sb3_qflex.analysis.trained import Trained
from sb3_qflex.envs.action_repeat import SUCCESS


def run_episodes(
    act: Act, env: VecEnv, n_episodes: int, seed: int, totals: Sequence[str] = (), at_end: Sequence[str] = ()
) -> pd.DataFrame:
    """
    One episode for each of the seeds ``seed`` to ``seed + n_episodes - 1``.

    The seed fixes the environment's draws; that of torch is set too, and restored, so that two ways to act which
    sample from the same source policy begin with the same noise.

    :param act: how to act
    :param env: environments with a time limit; as many episodes run side by side
    :param n_episodes: at least 1
    :param seed: seed of the first episode
    :param totals: entries of ``info`` to sum over each episode
    :param at_end: entries of ``info`` to take at its last step; not a number for a success that it does not tell of
    :return: columns ``seed``, ``return``, ``length`` (in steps of the task), those of ``totals``, and of ``at_end`` as
        :func:`at_the_end` names them; one row for each episode
    """
    frames = []
    with th.random.fork_rng(devices=[]):
        for first in range(0, n_episodes, env.num_envs):
            th.manual_seed(seed + first)
            env.seed(seed + first)
            frames.append(_first_episodes(act, env, totals, at_end).assign(seed=seed + first + np.arange(env.num_envs)))
    episodes = pd.concat(frames, ignore_index=True).head(n_episodes)
    return episodes[["seed", "return", "length", *totals, *map(at_the_end, at_end)]]


def at_the_end(name: str) -> str:
    """
    :param name: one of ``at_end`` of :func:`run_episodes`
    :return: its column
    """
    return f"{name} at the end"


def _first_episodes(act: Act, env: VecEnv, totals: Sequence[str], at_end: Sequence[str]) -> pd.DataFrame:
    """The first episode of each environment after a reset; those that are through go on, uncounted."""
    sums = {name: np.zeros(env.num_envs) for name in ("return", "length", *totals)}
    ends = {name: np.zeros(env.num_envs) for name in at_end}
    running = np.ones(env.num_envs, dtype=bool)
    obs = env.reset()
    while running.any():
        obs, rewards, dones, infos = env.step(act(obs))
        sums["return"] += rewards * running
        # A held action is one step of the model and several of the task.
        sums["length"] += np.array([info.get("frames", 1) for info in infos]) * running
        for name in totals:
            sums[name] += np.nan_to_num(_told(infos, name)) * running
        for name, values in ends.items():
            values[running] = _told(infos, name)[running]
        running &= ~dones
    columns = sums | {at_the_end(name): values for name, values in ends.items()}
    return pd.DataFrame(columns).astype({"length": int})


def _told(infos: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """An entry of each ``info``; success, of which not every step tells, is not a number where it is missing."""
    return np.array([info.get(name, np.nan) if name in SUCCESS else info[name] for info in infos], dtype=float)


def explored_episodes(
    trained: Trained, cases: Mapping[str, Explore], args: argparse.Namespace
) -> tuple[pd.DataFrame, PyTorchObs]:
    """
    Episodes of each way to explore, on the same seeds, and states that the model's own exploration visits.

    :param trained: a model whose field was trained
    :param cases: ways to explore by name
    :param args: of the command
    :return: as :func:`run_episodes` with a column ``case``, and observations as tensors, (S, ...)
    """
    policy, frames = trained.flow_policy, []
    with closing(trained.task.make(args.n_envs, args.seed)) as env:
        for name, explore in cases.items():
            act = explorer(policy, explore, not args.stochastic)
            frames.append(run_episodes(act, env, args.episodes, args.seed).assign(case=name))
        return pd.concat(frames, ignore_index=True), visited_states(policy, env, args.states, args.seed)


def summarise(episodes: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """
    Returns by case, and their differences to the case ``baseline`` on the same seed.

    One row for each case; the standard error is that of the mean paired difference, over episodes.
    """
    returns = episodes.pivot(index="seed", columns="case", values="return")[episodes["case"].unique()]
    differences = returns.sub(returns[baseline], axis=0)
    columns = {
        "episodes": returns.count(),
        "mean return": returns.mean(),
        "std over episodes": returns.std(ddof=0),
        "lower quartile": returns.quantile(0.25),
        "median": returns.median(),
        "upper quartile": returns.quantile(0.75),
        f"mean difference to {baseline}": differences.mean(),
        "its standard error": differences.sem(),
    }
    return pd.DataFrame(columns).rename_axis("case").reset_index()


def draw_returns(axes: Axes, episodes: pd.DataFrame, title: str) -> None:
    """Boxes of returns by case, with one thin line for each seed."""
    cases = list(episodes["case"].unique())
    returns = episodes.pivot(index="seed", columns="case", values="return")[cases].to_numpy()
    axes.plot(range(1, len(cases) + 1), returns.T, color="0.7", linewidth=0.5)
    axes.boxplot(returns, tick_labels=cases, showmeans=True, showfliers=False)
    axes.set(title=title, ylabel="Episode return")
