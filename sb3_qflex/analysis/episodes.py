"""Episodes of several ways to act on the same seeds, and what their returns tell."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch as th
from matplotlib.axes import Axes
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.analysis.acting import Act


def run_episodes(act: Act, env: VecEnv, n_episodes: int, seed: int, totals: Sequence[str] = ()) -> pd.DataFrame:
    """
    One episode for each of the seeds ``seed`` to ``seed + n_episodes - 1``.

    The seed fixes the environment's draws; that of torch is set too, and restored, so that two ways to act which
    sample from the same source policy begin with the same noise.

    :param act: how to act
    :param env: environments with a time limit; as many episodes run side by side
    :param n_episodes: at least 1
    :param seed: seed of the first episode
    :param totals: entries of ``info`` to sum over each episode
    :return: columns ``seed``, ``return``, ``length`` and those of ``totals``; one row for each episode
    """
    frames = []
    with th.random.fork_rng(devices=[]):
        for first in range(0, n_episodes, env.num_envs):
            th.manual_seed(seed + first)
            env.seed(seed + first)
            frames.append(_first_episodes(act, env, totals).assign(seed=seed + first + np.arange(env.num_envs)))
    episodes = pd.concat(frames, ignore_index=True).head(n_episodes)
    return episodes[["seed", "return", "length", *totals]]


def _first_episodes(act: Act, env: VecEnv, totals: Sequence[str]) -> pd.DataFrame:
    """The first episode of each environment after a reset; those that are through go on, uncounted."""
    sums = {name: np.zeros(env.num_envs) for name in ("return", "length", *totals)}
    running = np.ones(env.num_envs, dtype=bool)
    obs = env.reset()
    while running.any():
        obs, rewards, dones, infos = env.step(act(obs))
        sums["return"] += rewards * running
        sums["length"] += running
        for name in totals:
            sums[name] += np.array([info[name] for info in infos]) * running
        running &= ~dones
    return pd.DataFrame(sums).astype({"length": int})


def paired_episodes(
    cases: Mapping[str, Act], env: VecEnv, n_episodes: int, seed: int, totals: Sequence[str] = ()
) -> pd.DataFrame:
    """
    :param cases: ways to act by name
    :param env: see :func:`run_episodes`
    :param n_episodes: of each case, the same seeds for all
    :param seed: seed of the first episode
    :param totals: see :func:`run_episodes`
    :return: the episodes of all cases, with a column ``case``
    """
    frames = [run_episodes(act, env, n_episodes, seed, totals).assign(case=name) for name, act in cases.items()]
    return pd.concat(frames, ignore_index=True)


def summarise(episodes: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """
    Returns by case, and their differences to the baseline on the same seed.

    :param episodes: from :func:`paired_episodes`
    :param baseline: name of a case
    :return: one row for each case; the standard error is that of the mean paired difference, over episodes
    """
    returns = episodes.pivot(index="seed", columns="case", values="return")
    rows = []
    for case in episodes["case"].unique():
        values, difference = returns[case], returns[case] - returns[baseline]
        low, median, high = np.percentile(values, [25, 50, 75])
        rows.append(
            {
                "case": case,
                "episodes": len(values),
                "mean return": values.mean(),
                "std over episodes": values.std(ddof=0),
                "lower quartile": low,
                "median": median,
                "upper quartile": high,
                f"mean difference to {baseline}": difference.mean(),
                "its standard error": difference.sem() if len(values) > 1 else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def draw_returns(axes: Axes, episodes: pd.DataFrame, title: str) -> None:
    """
    Boxes of returns by case, with one thin line for each seed.

    :param axes: to draw on
    :param episodes: from :func:`paired_episodes`
    :param title: of the panel
    """
    cases = list(episodes["case"].unique())
    returns = episodes.pivot(index="seed", columns="case", values="return")[cases].to_numpy()
    axes.plot(range(1, len(cases) + 1), returns.T, color="0.7", linewidth=0.5)
    axes.boxplot(returns, tick_labels=cases, showmeans=True, showfliers=False)
    axes.set(title=title, ylabel="Episode return")
