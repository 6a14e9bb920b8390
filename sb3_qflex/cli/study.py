"""``sb3-qflex study run STUDY`` and ``sb3-qflex study report STUDY``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_qflex.cli.arguments import positive, told
from sb3_qflex.studies.definition import StudyError, load_study, packaged_studies

if TYPE_CHECKING:
    from sb3_qflex.studies.run_folder import RunFolder
    from sb3_qflex.studies.runner import Runner


def run(prog: str, argv: Sequence[str]) -> None:
    """Make the runs of a study that are not there yet."""
    arguments = _run_parser(prog).parse_args(argv)
    from sb3_qflex.studies.choice import wanted
    from sb3_qflex.studies.run_folder import RunFolder
    from sb3_qflex.studies.runner import locked

    try:
        study = load_study(arguments.study)
        root = (arguments.out or Path("runs", study.name)).resolve()
        plans = wanted(study, arguments.only, arguments.reported)
        runs = [RunFolder(plan, root, arguments.checkpoint_every) for plan in plans]
        if arguments.dry_run:
            for one in runs:
                print(f"{one.plan.name}: {'done' if one.done() else 'missing'}")
            return
        with locked(root):
            runner = _runner(runs, arguments.jobs, arguments.ray)
            runner.run()
    except StudyError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on with what is missing.")
    if runner.failures:
        sys.exit(f"{len(runner.failures)} of {len(runs)} runs failed: {', '.join(runner.failures)}")
    print(f"All {len(runs)} runs of {study.name} are in {root}")


def _runner(runs: "Sequence[RunFolder]", jobs: int | None, on_ray: bool) -> "Runner":
    from sb3_qflex.common.machine import available_cores
    from sb3_qflex.studies.runner import Runner

    if not on_ray:
        return Runner(runs, jobs or available_cores())
    try:
        from sb3_qflex.studies.ray_queue import RayExecution, cluster_cores
    except ImportError as error:
        raise StudyError(str(error)) from error
    return Runner(runs, jobs or cluster_cores(), RayExecution)


def report(prog: str, argv: Sequence[str]) -> None:
    """Write the report of a study."""
    parser = _parser(prog, "Tables and figures of a study, as far as its runs are finished. Trains nothing.")
    add = parser.add_argument
    add("--runs", type=Path, help="folder of runs to add to the data in --out (default: none)")
    add("--out", type=Path, help="folder of data and report (default: docs/results/<study>)")
    arguments = parser.parse_args(argv)
    from sb3_qflex.studies.report import write_report

    with told(StudyError, OSError):
        study = load_study(arguments.study)
        out = arguments.out or Path("docs", "results", study.name)
        written = write_report(study, out, arguments.runs)
    print("Wrote", *written)


def _run_parser(prog: str) -> argparse.ArgumentParser:
    parser = _parser(
        prog,
        "Make the runs of a study through RL Zoo. Finished runs are kept, unfinished ones go on from their last "
        "checkpoint: the same command goes on after it was stopped or killed.",
    )
    add = parser.add_argument
    add("--out", type=Path, help="folder of the runs (default: runs/<study>)")
    add("--jobs", type=positive, help="runs at the same time, one thread each (default: cores available)")
    shared = "run on a Ray cluster (RAY_ADDRESS, or one on this machine) whose machines share the folder of the runs"
    add("--ray", action="store_true", help=shared)
    names = "make only the runs with such names, as 'pen/qflex/*'"
    add("--only", nargs="+", action="extend", metavar="PATTERN", help=names)
    add("--reported", type=Path, metavar="FOLDER", help="a report of the study: leave out the runs that it has")
    between = "between two checkpoints of a run (default: %(default)s)"
    add("--checkpoint-every", type=positive, default=600, metavar="SECONDS", help=between)
    add("--dry-run", action="store_true", help="only list the runs and which are done")
    return parser


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=description)
    parser.add_argument("study", help=f"one of {', '.join(packaged_studies())}, or the path of a YAML file")
    return parser
