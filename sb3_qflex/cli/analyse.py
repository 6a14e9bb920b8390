"""``sb3-qflex analyse NAME MODEL_OR_RUN ...``: an analysis of trained models as CSV, Markdown and PNG."""

import argparse
import ast
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from sb3_qflex.cli.arguments import positive


def main(prog: str, argv: Sequence[str]) -> None:
    """
    Carry out one analysis, print its table and write its files.

    :param prog: words before the arguments, of which the last is the analysis
    :param argv: its arguments
    """
    name = prog.split()[-1]
    args = _parser(prog, name).parse_args(argv)
    from sb3_qflex.analysis import result

    folder = result.outputs(args.out, name)
    try:
        # Before computing, which may take long.
        folder.check(result.file_names(name))
        found = import_module(f"sb3_qflex.analysis.{name}").run(args)
        command = f"{prog} {shlex.join(argv)}"
        paths = result.write(found, folder, name, command)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(result.to_markdown(found, command, paths[2].name))
    print("Wrote", *paths)


def _parser(prog: str, name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog, description=_docstring(name), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "models",
        type=Path,
        nargs="+",
        metavar="MODEL_OR_RUN",
        help="run folder of RL Zoo, model in one, or a zip elsewhere (with --env)",
    )
    add("--env", help="environment id, for a zip outside of a run folder")
    add("--algo", help="as RL Zoo names it, for a zip whose policy does not say it")
    add("--out", type=Path, default=Path("analysis"), help="folder for the files (default: %(default)s)")
    add("--seed", type=int, default=0, help="of episodes, states and noise (default: %(default)s)")
    add("--n-envs", type=positive, default=8, help="environments side by side (default: %(default)s)")
    _ARGUMENTS[name](parser)
    return parser


def _docstring(name: str) -> str | None:
    """What an analysis says of itself; importing it would take seconds."""
    spec = find_spec(f"sb3_qflex.analysis.{name}")
    assert spec is not None and spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))


def _add_states(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument("--states", type=positive, default=default, help="visited states (default: %(default)s)")


def _add_episodes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--episodes", type=positive, default=40, help="of each case (default: %(default)s)")
    parser.add_argument("--stochastic", action="store_true", help="start from a source sample, not from tanh(mean)")


def _superiority(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--states", type=positive, default=256, help="states of each checkpoint (default: %(default)s)")


def _lag(parser: argparse.ArgumentParser) -> None:
    _add_states(parser, 2560)
    updates = [0, 25, 50, 100, 200, 400, 800]
    parser.add_argument("--updates", type=int, nargs="+", default=updates, help="when to look (default: %(default)s)")


def _sensitivity(parser: argparse.ArgumentParser) -> None:
    _exploration(parser)
    add = parser.add_argument
    add("-K", type=positive, nargs="+", default=[1, 2, 5, 10, 20, 40], help="flow steps (default: %(default)s)")
    add("-N", type=positive, nargs="+", default=[1, 5, 10, 20, 40], help="guidance steps (default: %(default)s)")
    sizes = [0.001, 0.003, 0.01, 0.03, 0.1]
    add("--eta", type=float, nargs="+", default=sizes, help="guidance step sizes (default: %(default)s)")


def _exploration(parser: argparse.ArgumentParser) -> None:
    _add_episodes(parser)
    _add_states(parser, 256)


def _partway(parser: argparse.ArgumentParser) -> None:
    _exploration(parser)
    parser.add_argument("--times", type=float, nargs="+", help="flow times in [0, 1] (default: its quarters)")


def _correlation(parser: argparse.ArgumentParser) -> None:
    _add_states(parser, 64)
    parser.add_argument("--samples", type=int, default=64, help="noise samples at each state (default: %(default)s)")
    parser.add_argument(
        "--groups", type=Path, help="YAML file: group: [patterns of actuator names], in place of the rule for names"
    )


def _energy(parser: argparse.ArgumentParser) -> None:
    _add_episodes(parser)
    parser.add_argument("--bins", type=positive, default=5, help="of equal return (default: %(default)s)")


def _runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing in all (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=1, help="of torch (default: %(default)s)")


_ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "superiority": _superiority,
    "lag": _lag,
    "sensitivity": _sensitivity,
    "exploration": _exploration,
    "partway": _partway,
    "correlation": _correlation,
    "energy": _energy,
    "runtime": _runtime,
}
