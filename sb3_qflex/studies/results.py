"""The small CSV files of a study, read back for its report, and joined where runs were made at different times."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_qflex.studies.definition import Study, StudyError, Task
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, SETTINGS, TRAINING, json_bytes, to_csv
from sb3_qflex.studies.plan import Plan, differences, plan_runs

Curve = NDArray[np.float64]
_Key = tuple[str, str, str]
_NO_EPISODES = {name: np.empty(0) for name in ("steps", "episodes", "return mean", "return std", "length mean")}
#: Part of the budget at its end over which "final" returns are averaged.
_LAST = 0.1


@dataclass(frozen=True)
class RunResult:
    """
    A finished run.

    :param task: name of the task
    :param label: of the algorithm with its settings
    :param seed: seed
    :param facts: row of ``runs.csv``
    :param evaluations: columns of ``evaluations.csv``, each of shape (evaluations,); NaN where unknown
    :param training: columns of ``training.csv``, each of shape (parts of the budget in which episodes ended,)
    """

    task: str
    label: str
    seed: int
    facts: Mapping[str, str]
    evaluations: Mapping[str, Curve]
    training: Mapping[str, Curve]

    @property
    def budget(self) -> int:
        """Environment steps that the run was to make."""
        return int(self.facts["budget"])

    @property
    def system(self) -> str:
        """Operating system with its release. The name of the processor does not tell machines apart: that of a
        virtual one may hide cores of different speed."""
        return self.facts["system"]

    def number(self, fact: str) -> float:
        """The value in a column of ``runs.csv``, NaN if unknown."""
        return float(self.facts.get(fact) or "nan")

    def final(self, column: str) -> float:
        """Mean of a column over the evaluations of the last tenth of the budget, or the last one."""
        steps = self.evaluations["steps"]
        last = steps > min((1 - _LAST) * self.budget, steps[-1] - 1)
        return float(self.evaluations[column][last].mean())

    def final_training(self) -> float:
        """Mean return of the training episodes that ended in the last tenth of the budget, NaN without any."""
        last = self.training["steps"] > (1 - _LAST) * self.budget
        weights = self.training["episodes"][last]
        return float(np.average(self.training["return mean"][last], weights=weights)) if last.any() else math.nan

    def area(self) -> float:
        """Mean of the evaluation return over the steps from the first evaluation to the last."""
        steps, returns = self.evaluations["steps"], self.evaluations["return mean"]
        return float(np.trapezoid(returns, steps) / np.ptp(steps) if len(steps) > 1 else returns[0])

    def steps_to(self, threshold: float) -> float:
        """Environment steps at the first evaluation that reached a return, infinite if none did."""
        reached = self.evaluations["return mean"] >= threshold
        return float(self.evaluations["steps"][reached][0]) if reached.any() else math.inf


@dataclass(frozen=True)
class Results:
    """
    What there is of a study.

    :param study: the study
    :param runs: its finished runs
    :param missing: names of the others
    """

    study: Study
    runs: Sequence[RunResult]
    missing: Sequence[str]

    @property
    def systems(self) -> dict[str, str]:
        """A number, from 1 on, for each operating system that runs were made under, which may be another machine's;
        empty if it is one for all, whose times all compare."""
        systems = by_system(self.runs)
        return {system: str(number) for number, system in enumerate(systems, 1)} if len(systems) > 1 else {}

    def of_task(self, task: Task) -> dict[str, list[RunResult]]:
        """The finished runs of a task by label, in the study's order."""
        runs = {contender.label: self.of(task, contender.label) for contender in self.study.contenders}
        return {label: found for label, found in runs.items() if found}

    def of(self, task: Task, label: str) -> list[RunResult]:
        """The finished runs of an algorithm on a task."""
        return [run for run in self.runs if run.task == task.name and run.label == label]


def read_results(study: Study, files: Mapping[str, bytes]) -> Results:
    """
    :param study: the study that the files belong to
    :param files: contents by name, as ``extract`` gives them
    :return: the results
    :raises StudyError: if a run is none of the study's, or has another budget
    """
    evaluations, training = _grouped(files[EVALUATIONS]), _grouped(files[TRAINING])
    planned = {(plan.task, plan.label, str(plan.seed)): plan.name for plan in plan_runs(study)}
    runs = []
    for facts in csv_rows(files[RUNS]):
        key = _key(facts)
        if key not in planned:
            raise StudyError(f"{RUNS}: {'/'.join(key)} is no run of the study {study.name}")
        if int(facts["budget"]) != study.budget:
            raise StudyError(
                f"{RUNS}: {planned[key]} has a budget of {facts['budget']} steps, the study {study.name} one of "
                f"{study.budget}: different budgets are not compared"
            )
        runs.append(RunResult(key[0], key[1], int(key[2]), facts, evaluations[key], training.get(key, _NO_EPISODES)))
        del planned[key]
    return Results(study, runs, list(planned.values()))


def by_system(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Runs whose times compare with each other, by system."""
    return {system: [run for run in runs if run.system == system] for system in sorted({run.system for run in runs})}


def join(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, bytes]:
    """
    :param old: data of a report, by file name
    :param new: data of other runs of the same study; where both have a run, this one counts
    :return: data of all runs, sorted by task, label and seed
    :raises StudyError: if runs of one task and algorithm were made with different settings
    """
    replaced = {_key(row) for row in csv_rows(new[RUNS])}
    joined = {}
    for name in (RUNS, EVALUATIONS, TRAINING):
        rows = [row for row in csv_rows(old[name]) if _key(row) not in replaced] + csv_rows(new[name])
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
    return json_bytes(settings)


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
    known = {_key(row) for row in rows}
    found = [plan for plan in plans if (plan.task, plan.label, str(plan.seed)) in known]
    for plan in found:
        _same(settings[plan.task][plan.label], plan.kind_settings(), plan.name)
    return {plan.name for plan in found}


def csv_rows(content: bytes) -> list[dict[str, str]]:
    """The rows of one of the CSV files."""
    return list(csv.DictReader(io.StringIO(content.decode())))


def _key(row: Mapping[str, str]) -> _Key:
    """Task, label and seed of the run that a row belongs to."""
    return row["task"], row["label"], row["seed"]


def _grouped(content: bytes) -> dict[_Key, dict[str, Curve]]:
    groups: dict[_Key, list[dict[str, str]]] = {}
    for row in csv_rows(content):
        groups.setdefault(_key(row), []).append(row)
    return {key: {name: _numbers(rows, name) for name in list(rows[0])[len(key) :]} for key, rows in groups.items()}


def _numbers(rows: Sequence[Mapping[str, str]], name: str) -> Curve:
    return np.array([float(row[name] or "nan") for row in rows])
