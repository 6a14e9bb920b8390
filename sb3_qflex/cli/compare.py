"""``sb3-qflex compare --env ID``: several algorithms side by side."""

import argparse
from collections.abc import Sequence

from sb3_qflex.cli.arguments import positive, told
from sb3_qflex.zoo.algorithms import COMPARED
from sb3_qflex.zoo.hyperparameters import REGIMES, our_file


def main(prog: str, argv: Sequence[str]) -> None:
    """Train algorithms side by side and draw them."""
    args = parse(prog, argv)
    from sb3_qflex.zoo.compare import TrainingError, compare

    with told(TrainingError):
        compare(args)


def parse(prog: str, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; ``conf`` maps each algorithm to its YAML file."""
    parser = argparse.ArgumentParser(
        prog,
        description="Train several algorithms side by side through RL Zoo: same task, budget, seeds; one PNG and one "
        "table.",
    )
    add = parser.add_argument
    add("--env", required=True, help="environment ID")
    add("--steps", type=positive, default=60_000, help="environment steps of each run")
    add("--seed", type=int, nargs="+", default=[0], help="one or more seeds, each run by all algorithms")
    add("--algos", nargs="+", default=list(COMPARED), help="as in rl_zoo3 --algo")
    add("--regime", choices=sorted(REGIMES), default="small", help="which of our YAML files to use")
    add("--eval-episodes", type=positive, default=10, help="episodes of each of the evaluations")
    add("-f", "--log-folder", default="logs", help="RL Zoo's log folder")
    args = parser.parse_args(argv)
    args.algos = list(dict.fromkeys(args.algos))
    args.conf = {algo: our_file(algo, args.regime) for algo in args.algos}
    for algo, path in args.conf.items():
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.yml"))
            parser.error(f"the {args.regime} regime has no hyperparameters for {algo!r}; it has them for {known}")
    return args
