"""RL Zoo's commands with everything of ours registered: they need no start-up file, so they work from a checkout.

Their parsers are RL Zoo's, which imports everything to build them; so the short help here is ours.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence

from sb3_qflex.cli.table import COMMANDS

_USAGE = {
    "train": "--algo ALGO --env ID [-n STEPS] [--vec-env KIND] ...",
    "enjoy": "--algo ALGO --env ID [-f FOLDER] [--no-render] ...",
    "plot_train": "-a ALGO -e ID [ID ...] -f FOLDER ...",
    "plot_from_file": "-i FILE.pkl ...",
    "all_plots": "-a ALGO [ALGO ...] -e ID [ID ...] -f FOLDER ...",
}


def main(prog: str, argv: Sequence[str]) -> None:
    """Run a command of RL Zoo; ``--vec-env`` takes our choices too."""
    name = prog.split()[-1]
    parser = _parser(prog, name)
    if {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    if "--help-all" in argv:
        argv = ["--help"]
    from sb3_qflex.zoo.registration import register
    from sb3_qflex.zoo.vec_env import extend_manager, take_argument

    try:
        argv, vec_env = take_argument(argv)
    except ValueError as error:
        parser.error(str(error))
    register()
    from rl_zoo3.cli import main as zoo_main
    from rl_zoo3.exp_manager import ExperimentManager

    extend_manager(ExperimentManager, vec_env)
    sys.argv = [prog, name, *argv]  # RL Zoo's parsers call themselves by the first word
    try:
        zoo_main()
    except (AssertionError, ImportError, OSError, ValueError) as error:
        if not _is_about_what_was_given(error):
            raise
        sys.exit(f"{prog}: {error}")


def _is_about_what_was_given(error: Exception) -> bool:
    """Whether RL Zoo or this package raised it, to refuse something; whatever else fails keeps its traceback."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return bool(str(error)) and frame.f_globals["__name__"].startswith(("rl_zoo3.", "huggingface_sb3.", "sb3_qflex."))


def _parser(prog: str, name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog,
        usage=f"%(prog)s {_USAGE[name]}",
        description=f"RL Zoo's {name}: {COMMANDS[name].summary}. It takes all arguments of `rl_zoo3 {name}`.",
    )
    if name == "train":
        parser.add_argument(
            "--vec-env",
            metavar="KIND",
            help="dummy or subproc, as in RL Zoo; worker: many environments in each of a few processes; ray: those on "
            "a Ray cluster",
        )
    parser.add_argument("--help-all", action="store_true", help="RL Zoo's list of all arguments; takes seconds")
    return parser
