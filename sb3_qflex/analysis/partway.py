"""Actions taken part-way along the flow: Q and return at t = k / K (a question of the paper's reviewers)."""

import argparse
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.acting import Explore, flow, q_of
from sb3_qflex.analysis.episodes import draw_returns, explored_episodes, summarise
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.trained import load_one
from sb3_qflex.qflex.policies import QFlexPolicy

TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def steps_at(times: Sequence[float], n_steps: int) -> dict[str, int]:
    """
    The Euler steps nearest to flow times.

    :param times: in [0, 1]
    :param n_steps: K
    :return: number of steps by "t = k / K"; times that fall on one step are one entry
    """
    return {f"t = {k / n_steps:.3g}": k for k in (round(time * n_steps) for time in times)}


def _beginnings(policy: QFlexPolicy, times: Sequence[float]) -> dict[str, Explore]:
    n_steps = policy.flow_steps
    return {name: flow(policy, n_steps, until) for name, until in steps_at(times, n_steps).items()}


def q_along(policy: QFlexPolicy, obs: PyTorchObs, times: Sequence[float] = TIMES) -> pd.DataFrame:
    """
    Min Q of the clamped action part-way, from the same source samples; the random state is left as it was.

    :param policy: of a model whose field was trained
    :param obs: states, (S, ...)
    :param times: in [0, 1]
    :return: by time: mean min Q, its gain over the source action, and the share of states with a gain
    """
    return q_of(policy, obs, _beginnings(policy, times))


def run(args: argparse.Namespace) -> Result:
    """
    Carry out the command.

    :raises ValueError: for times outside of [0, 1]
    """
    times = sorted({*(args.times or TIMES), 1.0})
    if not 0.0 <= times[0] <= times[-1] <= 1.0:
        raise ValueError(f"flow times are in [0, 1], got {args.times}")
    trained = load_one(args.models, args.env, args.algo)
    policy = trained.flow_policy
    episodes, obs = explored_episodes(trained, _beginnings(policy, times), args)
    along = q_along(policy, obs, times)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(along["case"], along["gain of min Q"], "o-")
    left.set(title="Gain of Q along the flow", ylabel="mean min Q minus that of a(0)")
    draw_returns(right, episodes, "Return of actions taken part-way")
    text = (
        f"{trained.label} on {trained.task.env_id}, K = {policy.flow_steps}: the action after the first k of K Euler "
        f"steps, clamped, executed at every step of the same {args.episodes} episode seeds; and its min Q from source "
        f"samples at {args.states} states that the whole flow visits."
    )
    summary = summarise(episodes, "t = 1").merge(along, on="case")
    return Result("Actions part-way along the flow", text, summary, figure, {"episodes": episodes})
