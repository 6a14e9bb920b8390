"""``python -m sb3_qflex.benchmark run STUDY``."""

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.common.machine import available_cores
from sb3_qflex.speed.speed import positive_integer
from sb3_qflex.studies.definition import Study, StudyError, load_study, packaged_studies
from sb3_qflex.studies.joining import reported
from sb3_qflex.studies.lock import locked
from sb3_qflex.studies.plan import Plan, plan_runs
from sb3_qflex.studies.run_folder import RunFolder
from sb3_qflex.studies.runner import Runner


def run_study(argv: Sequence[str]) -> None:
    """
    Make the runs of a study that are not there yet.

    :param argv: arguments, see ``--help``
    """
    arguments = _parser().parse_args(argv)
    try:
        study = load_study(arguments.study)
        root = (arguments.out or Path("runs", study.name)).resolve()
        plans = _wanted(study, arguments.only, arguments.reported)
        runs = [RunFolder(plan, root, arguments.checkpoint_every) for plan in plans]
        if arguments.dry_run:
            for run in runs:
                print(f"{run.plan.name}: {'done' if run.done() else 'missing'}")
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


def _wanted(study: Study, patterns: Sequence[str] | None, report: Path | None) -> list[Plan]:
    plans = plan_runs(study)
    for pattern in patterns or ():
        if not any(fnmatch.fnmatchcase(plan.name, pattern) for plan in plans):
            raise StudyError(f"--only {pattern}: no run of {study.name} has such a name; they are listed by --dry-run")
    elsewhere = set() if report is None else reported(report, plans)
    chosen = [plan for plan in plans if any(fnmatch.fnmatchcase(plan.name, one) for one in patterns or ["*"])]
    return [plan for plan in chosen if plan.name not in elsewhere]


def _runner(runs: Sequence[RunFolder], jobs: int | None, on_ray: bool) -> Runner:
    if not on_ray:
        return Runner(runs, jobs or available_cores())
    try:
        from sb3_qflex.studies.ray_queue import RayExecution, cluster_cores
    except ImportError as error:
        raise StudyError(str(error)) from error
    return Runner(runs, jobs or cluster_cores(), RayExecution)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m sb3_qflex.benchmark run",
        description="Make the runs of a study through RL Zoo. Finished runs are kept, unfinished ones go on from "
        "their last checkpoint: the same command goes on after it was stopped or killed.",
    )
    parser.add_argument("study", help=f"one of {', '.join(packaged_studies())}, or the path of a YAML file")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: runs/<study>)")
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        help="runs at the same time, one thread each (default: cores available)",
    )
    parser.add_argument(
        "--ray",
        action="store_true",
        help="run on a Ray cluster (RAY_ADDRESS, or one on this machine) whose machines share the folder of the runs",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="make only the runs with such names, as 'pen/qflex/*'",
    )
    parser.add_argument(
        "--reported", type=Path, metavar="FOLDER", help="a report of the study: leave out the runs that it has"
    )
    parser.add_argument(
        "--checkpoint-every",
        type=positive_integer,
        default=600,
        metavar="SECONDS",
        help="between two checkpoints of a run (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list the runs and which are done")
    return parser
