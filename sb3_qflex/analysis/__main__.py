"""``python -m sb3_qflex.analysis NAME MODEL_OR_RUN ...``: an analysis of trained models as CSV, Markdown and PNG."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType

from sb3_qflex.analysis import correlation, energy, exploration, lag, partway, result, runtime, sensitivity, superiority
from sb3_qflex.analysis.arguments import add_models

_COMMAND = "python -m sb3_qflex.analysis"

ANALYSES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (superiority, lag, sensitivity, exploration, partway, correlation, energy, runtime)
}


def main(argv: Sequence[str] | None = None) -> None:
    """
    Carry out one analysis, print its table and write its files.

    :param argv: its name and arguments, those of the process by default
    """
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    folder = result.outputs(args.out, args.name)
    try:
        # Before computing, which may take long.
        folder.check(result.file_names(args.name))
        found = ANALYSES[args.name].run(args)
        command = f"{_COMMAND} {shlex.join(argv)}"
        paths = result.write(found, folder, args.name, command)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(result.to_markdown(found, command, paths[2].name))
    print("Wrote", *paths)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(_COMMAND, description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in ANALYSES.items():
        assert module.__doc__ is not None
        first = module.__doc__.strip().splitlines()[0]
        command = commands.add_parser(
            name, help=first, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        add_models(command)
        module.add_arguments(command)
    return parser


if __name__ == "__main__":
    main()
