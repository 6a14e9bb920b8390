"""Return of the learned flow against source-only actions and direct gradient ascent, one model, paired episodes.

The paper's Fig. 8 trains without the flow; this command takes it away at inference only (for training, see
``exploration=`` of QFlex). Its reviewers asked for the ascent.
"""

import argparse

from matplotlib.figure import Figure

from sb3_qflex.analysis.acting import Explore, flow, q_of
from sb3_qflex.analysis.episodes import draw_returns, explored_episodes, summarise
from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.trained import load_one


def run(args: argparse.Namespace) -> Result:
    """Carry out the command."""
    trained = load_one(args.models, args.env, args.algo)
    policy = trained.flow_policy
    cases: dict[str, Explore] = {
        "flow": flow(policy, policy.flow_steps),
        "source": lambda obs, source_actions: source_actions,
        "ascent": lambda obs, source_actions: policy.ascend(obs, source_actions).target_actions,
    }
    episodes, obs = explored_episodes(trained, cases, args)
    summary = summarise(episodes, "flow").merge(q_of(policy, obs, cases)[["case", "mean min Q"]], on="case")
    figure = Figure(figsize=(6, 5), layout="constrained")
    draw_returns(figure.add_subplot(), episodes, "Return by exploration, same seeds")
    start = "a source sample" if args.stochastic else "tanh(mean)"
    text = (
        f"{trained.label} on {trained.task.env_id}, one trained model at inference, every case from {start} on the "
        f"same episode seeds. *ascent* takes the model's N = {policy.guidance_steps} guidance steps on its critics. "
        f"Min Q is that of stochastic actions at {args.states} visited states. The spread is over episodes of one "
        "model, not over training seeds."
    )
    return Result("Flow, source and gradient ascent", text, summary, figure, {"episodes": episodes})
