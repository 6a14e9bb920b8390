"""Arguments that several commands of the analyses share."""

import argparse
from pathlib import Path

from sb3_qflex.analysis.trained import ModelError, Trained, load_all


def positive(text: str) -> int:
    """
    :param text: an argument
    :return: it as an integer of at least 1
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def add_models(parser: argparse.ArgumentParser) -> None:
    """
    :param parser: of a command
    """
    parser.add_argument(
        "models",
        type=Path,
        nargs="+",
        metavar="MODEL_OR_RUN",
        help="run folder of RL Zoo, model in one, or a zip elsewhere (with --env)",
    )
    parser.add_argument("--env", help="environment id, for a zip outside of a run folder")
    parser.add_argument("--algo", help="as RL Zoo names it, for a zip whose policy does not say it")
    parser.add_argument(
        "--out", type=Path, default=Path("analysis"), help="folder for the files (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of episodes, states and noise (default: %(default)s)")
    parser.add_argument("--n-envs", type=positive, default=8, help="environments side by side (default: %(default)s)")


def add_states(parser: argparse.ArgumentParser, default: int) -> None:
    """
    :param parser: of a command
    :param default: number of states
    """
    parser.add_argument("--states", type=positive, default=default, help="visited states (default: %(default)s)")


def add_episodes(parser: argparse.ArgumentParser) -> None:
    """
    :param parser: of a command
    """
    parser.add_argument("--episodes", type=positive, default=40, help="of each case (default: %(default)s)")
    parser.add_argument("--stochastic", action="store_true", help="start from a source sample, not from tanh(mean)")


def load_one(args: argparse.Namespace) -> Trained:
    """
    :param args: of a command
    :return: its only model
    :raises ModelError: if there are several
    """
    if len(args.models) > 1:
        raise ModelError(f"this analysis takes one model, got {len(args.models)}: run it once for each, with --out")
    return load_all(args.models, args.env, args.algo)[0]
