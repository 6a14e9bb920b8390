"""One report from runs that were made at different times or on different machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sb3_qflex.studies.definition import StudyError
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, SETTINGS, TRAINING, to_csv
from sb3_qflex.studies.plan import Plan, differences
from sb3_qflex.studies.results import csv_rows, run_key


def join(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, bytes]:
    """
    :param old: data of a report, by file name
    :param new: data of other runs of the same study; where both have a run, this one counts
    :return: data of all runs, sorted by task, label and seed
    :raises StudyError: if runs of one task and algorithm were made with different settings
    """
    replaced = {run_key(row) for row in csv_rows(new[RUNS])}
    joined = {}
    for name in (RUNS, EVALUATIONS, TRAINING):
        rows = [row for row in csv_rows(old[name]) if run_key(row) not in replaced] + csv_rows(new[name])
        # The sort is stable: the rows of one run keep their order.
        joined[name] = to_csv(sorted(rows, key=lambda row: (row["task"], row["label"], int(row["seed"]))))
    joined[SETTINGS] = _joined_settings(old[SETTINGS], new[SETTINGS])
    return joined


def _joined_settings(old: bytes, new: bytes) -> bytes:
    settings: dict[str, dict[str, Any]] = json.loads(old)
    for task, labels in json.loads(new).items():
        known = settings.setdefault(task, {})
        for label, values in labels.items():
            _same(known.get(label, values), values, f"{task}/{label}")
            known.setdefault(label, values)
    return (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()


def _same(known: Mapping[str, Any], values: Mapping[str, Any], name: str) -> None:
    # The command has the run's seed in it.
    there, here = ({key: value for key, value in one.items() if key != "command"} for one in (known, values))
    if different := differences(there, here):
        raise StudyError(
            f"{name}: the report has runs with other settings ({different}). Choose another folder with "
            "--out, or remove the old results."
        )


def reported(folder: Path, plans: list[Plan]) -> set[str]:
    """
    :param folder: of a report
    :param plans: runs of its study
    :return: names of the runs that the report has
    :raises StudyError: if there is no report, or it was made with other settings
    """
    try:
        rows, settings = csv_rows((folder / RUNS).read_bytes()), json.loads((folder / SETTINGS).read_bytes())
    except FileNotFoundError as error:
        raise StudyError(f"{folder} has no report of a study: {error.filename} is missing") from error
    known = {run_key(row) for row in rows}
    found = [plan for plan in plans if (plan.task, plan.label, str(plan.seed)) in known]
    for plan in found:
        _same(settings[plan.task][plan.label], plan.kind_settings(), plan.name)
    return {plan.name for plan in found}
