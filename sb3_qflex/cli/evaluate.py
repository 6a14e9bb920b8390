"""``sb3-qflex evaluate MODEL``: return and success of trained models over episodes with given seeds."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.cli.arguments import positive, told


def main(prog: str, argv: Sequence[str]) -> None:
    """Play the episodes and print a table, a row for each model."""
    parser = argparse.ArgumentParser(
        prog,
        description="Evaluate trained models: mean return, and the shares of episodes with success at the last step "
        "and at any step, with 95 %% intervals (Wilson).",
    )
    add = parser.add_argument
    add("models", type=Path, nargs="+", metavar="MODEL", help="run folder of RL Zoo, or a model's zip file")
    add("--env", metavar="ID", help="environment, for zip files that are in no run folder")
    add("--episodes", type=positive, default=100, help="of each model (default: %(default)s)")
    add("--seed", type=int, default=10_000, help="of the first episode (default: %(default)s)")
    add("--n-envs", type=positive, default=10, help="copies in this process (default: %(default)s)")
    add("--stochastic", action="store_true", help="sample the source action instead of taking tanh(mean)")
    args = parser.parse_args(argv)
    from contextlib import closing

    from sb3_qflex.analysis.acting import predictor
    from sb3_qflex.analysis.evaluation import evaluate
    from sb3_qflex.analysis.trained import load_all
    from sb3_qflex.speed.report import markdown_table

    rows = {}
    with told(ValueError, OSError):
        for trained in load_all(args.models, args.env):
            with closing(trained.task.make(min(args.n_envs, args.episodes))) as env:
                act = predictor(trained.model, not args.stochastic)
                rows[trained.label] = evaluate(act, env, args.episodes, args.seed).rows()
    # A task that tells of no success leaves its cells empty.
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[label, *(row.get(name, "") for name in columns)] for label, row in rows.items()]
    print(markdown_table(["model", *columns], cells))
