"""Return of the learned flow against source-only actions and direct gradient ascent, one model, paired episodes.

The paper's Fig. 8 trains without the flow; this command takes it away at inference only (for training, see
``exploration=`` of QFlex). Its reviewers asked for the ascent.
"""

import argparse

import pandas as pd
import torch as th
from matplotlib.figure import Figure
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.analysis import acting
from sb3_qflex.analysis.acting import Explore, explorer
from sb3_qflex.analysis.episodes import draw_returns, paired_episodes, summarise
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.states import visited_states
from sb3_qflex.analysis.trained import load_one
from sb3_qflex.qflex.policies import QFlexPolicy

BASELINE = "flow"


def explorations(policy: QFlexPolicy) -> dict[str, Explore]:
    """
    :param policy: of a model whose field was trained
    :return: the three ways from a source action to an executed one
    """
    return {
        BASELINE: acting.flow(policy, policy.flow_steps),
        "source": acting.source,
        "ascent": acting.ascent(policy),
    }


def mean_q(policy: QFlexPolicy, obs: PyTorchObs, cases: dict[str, Explore]) -> dict[str, float]:
    """
    Mean min Q of each case's clamped action, from the same source samples; the random state is left as it was.

    :param policy: of a QFlex model
    :param obs: states, (S, ...)
    :param cases: ways to explore by name
    """
    with th.no_grad(), th.random.fork_rng(devices=[]):
        source_actions = policy.source(obs)
        actions = {name: explore(obs, source_actions).clamp(-1.0, 1.0) for name, explore in cases.items()}
        return {name: float(policy.min_q(obs, value).mean()) for name, value in actions.items()}


def compare_explorations(
    policy: QFlexPolicy, env: VecEnv, n_episodes: int, seed: int, deterministic: bool = True
) -> pd.DataFrame:
    """
    :param policy: of a model whose field was trained
    :param env: its environments
    :param n_episodes: of each case
    :param seed: of the first episode
    :param deterministic: whether source actions are tanh(mean)
    :return: episodes, see :func:`sb3_qflex.analysis.episodes.paired_episodes`
    """
    acts = {name: explorer(policy, explore, deterministic) for name, explore in explorations(policy).items()}
    return paired_episodes(acts, env, n_episodes, seed)


def draw(episodes: pd.DataFrame) -> Figure:
    """
    :param episodes: from :func:`compare_explorations`
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    draw_returns(figure.add_subplot(), episodes, "Return by exploration, same seeds")
    return figure


def run(args: argparse.Namespace) -> Result:
    """
    :param args: of the command
    """
    trained = load_one(args.models, args.env, args.algo)
    policy = trained.flow_policy
    env = trained.task.make(args.n_envs, args.seed)
    episodes = compare_explorations(policy, env, args.episodes, args.seed, not args.stochastic)
    obs = visited_states(policy, env, args.states, args.seed)
    env.close()
    summary = summarise(episodes, BASELINE)
    summary["mean min Q"] = summary["case"].map(mean_q(policy, obs, explorations(policy)))
    start = "a source sample" if args.stochastic else "tanh(mean)"
    text = (
        f"{trained.label} on {trained.task.env_id}, one trained model at inference, every case from {start} on the "
        f"same episode seeds. *ascent* takes the model's N = {policy.guidance_steps} guidance steps on its critics. "
        f"Min Q is that of stochastic actions at {args.states} visited states. The spread is over episodes of one "
        "model, not over training seeds."
    )
    return Result("Flow, source and gradient ascent", text, summary, draw(episodes), {"episodes": episodes})
