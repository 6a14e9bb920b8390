"""Which runs of a study are made."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.studies.definition import Study, StudyError
from sb3_qflex.studies.plan import Plan, plan_runs
from sb3_qflex.studies.results import reported


def wanted(study: Study, patterns: Sequence[str] | None, report: Path | None) -> list[Plan]:
    """
    :param study: the study
    :param patterns: of the names of runs, None for all
    :param report: folder of a report, whose runs are left out; None for none
    :return: the runs
    :raises StudyError: if a pattern fits no run, or the folder has no report of this study
    """
    plans = plan_runs(study)
    for pattern in patterns or ():
        if not any(fnmatch.fnmatchcase(plan.name, pattern) for plan in plans):
            raise StudyError(f"--only {pattern}: no run of {study.name} has such a name; they are listed by --dry-run")
    elsewhere = set() if report is None else reported(report, plans)
    chosen = [plan for plan in plans if any(fnmatch.fnmatchcase(plan.name, one) for one in patterns or ["*"])]
    return [plan for plan in chosen if plan.name not in elsewhere]
