"""The small CSV files of a study, read back for its report."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sb3_qflex.studies.definition import Study, StudyError, Task
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, TRAINING
from sb3_qflex.studies.plan import plan_runs

Curve = NDArray[np.float64]
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
        """
        :param fact: column of ``runs.csv``
        :return: its value, NaN if unknown
        """
        return float(self.facts.get(fact) or "nan")

    def final(self, column: str) -> float:
        """
        :param column: of the evaluations
        :return: mean over the evaluations of the last tenth of the budget, or the last one
        """
        steps = self.evaluations["steps"]
        last = steps > min((1 - _LAST) * self.budget, steps[-1] - 1)
        return float(self.evaluations[column][last].mean())

    def final_training(self) -> float:
        """:return: mean return of the training episodes that ended in the last tenth of the budget, NaN without any"""
        last = self.training["steps"] > (1 - _LAST) * self.budget
        weights = self.training["episodes"][last]
        return float(np.average(self.training["return mean"][last], weights=weights)) if last.any() else math.nan

    def area(self) -> float:
        """:return: mean of the evaluation return over the steps from the first evaluation to the last"""
        steps, returns = self.evaluations["steps"], self.evaluations["return mean"]
        if len(steps) == 1:
            return float(returns[0])
        return float(np.trapezoid(returns, steps) / (steps[-1] - steps[0]))

    def steps_to(self, threshold: float) -> float:
        """
        :param threshold: an evaluation return
        :return: environment steps at the first evaluation that reached it, infinite if none did
        """
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
        """
        :param task: a task of the study
        :return: its finished runs by label, in the study's order
        """
        runs = {contender.label: self.of(task, contender.label) for contender in self.study.contenders}
        return {label: found for label, found in runs.items() if found}

    def of(self, task: Task, label: str) -> list[RunResult]:
        """
        :param task: a task of the study
        :param label: of an algorithm
        :return: finished runs
        """
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
        key = run_key(facts)
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
    """
    :param runs: of any algorithms
    :return: those whose times compare with each other, by system
    """
    return {system: [run for run in runs if run.system == system] for system in sorted({run.system for run in runs})}


_Key = tuple[str, str, str]
_NO_EPISODES = {name: np.empty(0) for name in ("steps", "episodes", "return mean", "return std", "length mean")}


def csv_rows(content: bytes) -> list[dict[str, str]]:
    """
    :param content: of one of the CSV files
    :return: its rows
    """
    return list(csv.DictReader(io.StringIO(content.decode())))


def run_key(row: Mapping[str, str]) -> _Key:
    """
    :param row: of one of the CSV files
    :return: task, label and seed of the run that it belongs to
    """
    return row["task"], row["label"], row["seed"]


def _grouped(content: bytes) -> dict[_Key, dict[str, Curve]]:
    groups: dict[_Key, list[dict[str, str]]] = {}
    for row in csv_rows(content):
        groups.setdefault(run_key(row), []).append(row)
    return {
        key: {
            name: np.array([float(row[name] or "nan") for row in rows])
            for name in rows[0]
            if name not in ("task", "label", "seed")
        }
        for key, rows in groups.items()
    }
