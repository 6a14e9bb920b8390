"""``python -m sb3_qflex COMMAND``: RL Zoo's commands with QFlex registered explicitly, and ours.

train, enjoy, plot_train, plot_from_file and all_plots take RL Zoo's arguments and need no start-up file, so they work
from a checkout or an editable install. ``compare`` trains several algorithms side by side; ``curve`` draws one run;
``export`` writes a trained policy for use elsewhere; ``watch`` records its episodes; ``run-report`` writes one HTML
page about a run; ``push_to_hub`` and ``load_from_hub`` share it on the Hugging Face Hub.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

ZOO_COMMANDS = ("train", "enjoy", "plot_train", "plot_from_file", "all_plots")

#: Functions that take the arguments after the command, and their modules.
OUR_COMMANDS = {
    "export": ("sb3_qflex.export.command", "main"),
    "watch": ("sb3_qflex.watch.command", "main"),
    "run-report": ("sb3_qflex.run_report.command", "main"),
    "push_to_hub": ("sb3_qflex.hub.command", "push"),
    "load_from_hub": ("sb3_qflex.hub.command", "load"),
}


def run_zoo(argv: Sequence[str]) -> None:
    """
    Run a command of RL Zoo; ``--vec-env`` takes our choices too.

    :param argv: the command and its arguments
    """
    from sb3_qflex.zoo.registration import register
    from sb3_qflex.zoo.vec_env import extend_manager, take_argument

    try:
        argv, vec_env = take_argument(argv)
    except ValueError as error:
        sys.exit(str(error))
    register()
    from rl_zoo3.cli import main as zoo_main
    from rl_zoo3.exp_manager import ExperimentManager

    extend_manager(ExperimentManager, vec_env)
    sys.argv = [f"{sys.argv[0]}", *argv]
    zoo_main()


def run_compare(argv: Sequence[str]) -> None:
    """
    Train algorithms side by side and draw them.

    :param argv: "compare" and its arguments
    """
    from sb3_qflex.zoo.compare import TrainingError, compare

    try:
        compare(argv[1:])
    except TrainingError as error:
        sys.exit(str(error))


def run_curve(argv: Sequence[str]) -> None:
    """
    Draw the learning curve of a run folder into it and print where its files are.

    :param argv: "curve" and the folder
    """
    from stable_baselines3.common.monitor import LoadMonitorResultsError

    from sb3_qflex.zoo.curves import draw, load_run

    parser = argparse.ArgumentParser("python -m sb3_qflex curve", description="Draw one run's learning curve.")
    parser.add_argument("run_dir", type=Path, help="a run folder of RL Zoo, e.g. logs/qflex/Pendulum-v1_1")
    folder = parser.parse_args(argv[1:]).run_dir
    try:
        run = load_run(folder)
    except (LoadMonitorResultsError, FileNotFoundError) as error:
        sys.exit(f"{folder} is no run folder of RL Zoo: {error}")
    picture = draw([run], run.label, folder / "learning_curve.png")
    found = {"Model": [*folder.glob("*-v*.zip")], "Config": [*folder.glob("*/config.yml")], "Learning curve": [picture]}
    for name, paths in found.items():
        print(f"{name}: {', '.join(map(str, paths)) or 'none'}")


def run_ours(argv: Sequence[str]) -> None:
    """
    Run a command that lives in a module of its own.

    :param argv: the command and its arguments
    """
    module, function = OUR_COMMANDS[argv[0]]
    getattr(import_module(module), function)(argv[1:])


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    **dict.fromkeys(ZOO_COMMANDS, run_zoo),
    "compare": run_compare,
    "curve": run_curve,
    **dict.fromkeys(OUR_COMMANDS, run_ours),
}


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run one command.

    :param argv: the command and its arguments, those of the process by default
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\nCommands: {', '.join(COMMANDS)}; each has --help.")
        return
    if argv[0] not in COMMANDS:
        near = difflib.get_close_matches(argv[0], COMMANDS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        sys.exit(f"Unknown command {argv[0]!r}.{hint} Known: {', '.join(COMMANDS)}.")
    COMMANDS[argv[0]](argv)


if __name__ == "__main__":
    main()
