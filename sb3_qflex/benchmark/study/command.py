"""``python -m sb3_qflex.benchmark run STUDY``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.benchmark.machine import available_cores
from sb3_qflex.benchmark.speed import positive_integer
from sb3_qflex.benchmark.study.definition import StudyError, load_study, packaged_studies
from sb3_qflex.benchmark.study.lock import locked
from sb3_qflex.benchmark.study.plan import plan_runs
from sb3_qflex.benchmark.study.run_folder import RunFolder
from sb3_qflex.benchmark.study.runner import Runner


def run_study(argv: Sequence[str]) -> None:
    """
    Make the runs of a study that are not there yet.

    :param argv: arguments, see ``--help``
    """
    arguments = _parser().parse_args(argv)
    try:
        study = load_study(arguments.study)
        root = (arguments.out or Path("runs", study.name)).resolve()
        runs = [RunFolder(plan, root) for plan in plan_runs(study)]
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


def _runner(runs: Sequence[RunFolder], jobs: int | None, on_ray: bool) -> Runner:
    if not on_ray:
        return Runner(runs, jobs or available_cores())
    try:
        from sb3_qflex.benchmark.study.ray_queue import RayExecution, cluster_cores
    except ImportError as error:
        raise StudyError(str(error)) from error
    return Runner(runs, jobs or cluster_cores(), RayExecution)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m sb3_qflex.benchmark run",
        description="Make the runs of a study through RL Zoo. Finished runs are kept and unfinished ones made anew, so "
        "the same command goes on after it was stopped or killed.",
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
    parser.add_argument("--dry-run", action="store_true", help="only list the runs and which are done")
    return parser
