"""``sb3-qflex evaluate``: return and success of models, or trained policies, over episodes with given seeds."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.cli.arguments import positive, told
from sb3_qflex.cli.pretrained import add_folder


def main(prog: str, argv: Sequence[str]) -> None:
    """Play the episodes and print a table, a row for each model."""
    parser = argparse.ArgumentParser(
        prog,
        description="Evaluate trained models: mean return, and the shares of episodes with success at the last step "
        "and at any step, with 95 %% intervals (Wilson).",
    )
    add = parser.add_argument
    add("models", type=Path, nargs="*", metavar="MODEL", help="run folder of RL Zoo, or a model's zip file")
    add("--pretrained", nargs="+", default=[], metavar="ID", help="trained policies: the figures of their table")
    add_folder(parser)
    add("--env", metavar="ID", help="environment, for zip files that are in no run folder")
    add("--episodes", type=positive, help="of each model (default: 100, or those of the policy's table)")
    add("--seed", type=int, help="of the first episode (default: 10000, or that of the policy's table)")
    add("--n-envs", type=positive, default=10, help="copies in this process, for models (default: %(default)s)")
    add("--stochastic", action="store_true", help="models: sample the source action instead of taking tanh(mean)")
    args = parser.parse_args(argv)
    if not args.models and not args.pretrained:
        parser.error("which one? Give a MODEL, or --pretrained ID")
    if args.pretrained and args.stochastic:
        parser.error("--stochastic is for models: the table of trained policies is of deterministic actions")
    from sb3_qflex.speed.report import markdown_table

    with told(ValueError, OSError):
        rows = _models(args) | _pretrained(args)
    # A task that tells of no success leaves its cells empty.
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[label, *(row.get(name, "") for name in columns)] for label, row in rows.items()]
    print(markdown_table(["model", *columns], cells))


def _models(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Rows of trained models, by their labels."""
    from contextlib import closing

    from sb3_qflex.analysis.acting import predictor
    from sb3_qflex.analysis.evaluation import EPISODES, SEED, evaluate
    from sb3_qflex.analysis.trained import load_all

    rows, episodes = {}, args.episodes or EPISODES
    for trained in load_all(args.models, args.env):
        with closing(trained.task.make(min(args.n_envs, episodes))) as env:
            act = predictor(trained.model, not args.stochastic)
            rows[trained.label] = evaluate(act, env, episodes, SEED if args.seed is None else args.seed).rows()
    return rows


def _pretrained(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Rows of trained policies, by their ids."""
    from sb3_qflex.analysis.pretrained import load_pretrained, play

    rows = {}
    for id in args.pretrained:
        found = load_pretrained(id, args.folder)
        seed = found.entry.played.seed if args.seed is None else args.seed
        rows[id] = play(found, args.episodes or found.entry.played.episodes, seed).rows()
    return rows
