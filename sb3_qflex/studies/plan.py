"""The runs of a study: where each lies, which hyperparameters it gets and which command makes it."""

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sb3_qflex.studies.definition import Contender, Evaluation, Study, StudyError, Task, folder_name
from sb3_qflex.zoo.compare import zoo_train_command
from sb3_qflex.zoo.hyperparameters import REGIMES, our_file, zoo_folder
from sb3_qflex.zoo.listed import as_list
from sb3_qflex.zoo.task_steps import repeat_of, until_of

_RECORDER = "sb3_qflex.studies.recorder.RunRecorder"
_REPEAT = "sb3_qflex.envs.ActionRepeat"
_CHECKPOINT = "sb3_qflex.studies.run_checkpoint.RunCheckpoint"


@dataclass(frozen=True)
class Plan:
    """
    One run.

    :param task: name of the task
    :param label: of the algorithm with its settings
    :param algo: RL Zoo's name of the algorithm
    :param env: Gymnasium id
    :param env_kwargs: arguments of the environment
    :param seed: seed
    :param budget: environment steps
    :param evaluation: how it is evaluated
    :param hyperparameters: the whole entry for RL Zoo
    :param save_every: environment steps between models that are kept
    :param action_repeat: environment steps of each action, of which SB3 counts one
    """

    task: str
    label: str
    algo: str
    env: str
    env_kwargs: Mapping[str, Any]
    seed: int
    budget: int
    evaluation: Evaluation
    hyperparameters: Mapping[str, Any]
    save_every: int | None
    action_repeat: int = 1

    @property
    def name(self) -> str:
        """The run's folder in the study's, and its name in messages."""
        return f"{folder_name(self.task)}/{folder_name(self.label)}/seed{self.seed}"

    @property
    def kind(self) -> tuple[str, str]:
        """Task and label: runs of one kind differ in their seeds only."""
        return self.task, self.label

    def settings(self) -> dict[str, Any]:
        """:return: everything that the outcome depends on, as JSON holds it"""
        settings = json.loads(json.dumps(asdict(self)))
        if self.action_repeat == 1:
            # As of runs that were made before there was another.
            del settings["action_repeat"]
        return settings

    def kind_settings(self) -> dict[str, Any]:
        """:return: the settings that all runs of its kind share"""
        return {key: value for key, value in self.settings().items() if key not in ("task", "label", "seed")}

    def hyperparameter_file(self, folder: Path, checkpoint_seconds: int) -> str:
        """
        :param folder: of the run
        :param checkpoint_seconds: between two checkpoints
        :return: text of a YAML file for RL Zoo, the callbacks that measure and that take checkpoints included
        """
        repeat = {"action_repeat": self.action_repeat} if self.action_repeat > 1 else {}
        ours = [
            {_RECORDER: {"folder": str(folder), **repeat}},
            {_CHECKPOINT: {"folder": str(folder), "every": checkpoint_seconds}},
        ]
        callbacks = [*ours, *as_list(self.hyperparameters.get("callback"))]
        entry = {**self.hyperparameters, "n_timesteps": self._actions(self.budget), "callback": callbacks}
        return yaml.safe_dump({self.env: entry}, sort_keys=False)

    def command(self, folder: Path) -> list[str]:
        """RL Zoo's train command for the run in a folder."""
        options: dict[str, Any] = {
            "--algo": self.algo,
            "--env": self.env,
            "-n": self._actions(self.budget),
            "--seed": self.seed,
            "-f": folder / "zoo",
            "-conf": folder / "hyperparameters.yml",
            "--eval-freq": self._actions(self.evaluation.every),
            "--eval-episodes": self.evaluation.episodes,
            "--n-eval-envs": self.evaluation.environments,
            "--num-threads": 1,
            "--log-interval": 100,
            "--device": "cpu",
        }
        if self.save_every is not None:
            options["--save-freq"] = self._actions(self.save_every)
        arguments = [f"{key}:{value!r}" for key, value in self.env_kwargs.items()]
        return zoo_train_command(options) + (["--env-kwargs", *arguments] if arguments else [])

    def _actions(self, steps: int) -> int:
        return -(-steps // self.action_repeat)


def differences(known: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What differs in the settings of a run that was made and of a planned one, in words; empty if nothing does."""
    return "; ".join(
        f"{key}: {known.get(key)!r} there, {ours.get(key)!r} now"
        for key in {**ours, **known}
        if known.get(key) != ours.get(key)
    )


def plan_runs(study: Study) -> list[Plan]:
    """
    :param study: the study
    :return: its runs; the first seed of everything comes first, so that a part of the study compares something
    :raises StudyError: if there are no hyperparameters for a run
    """
    runs = [
        Plan(
            task=task.name,
            label=contender.label,
            algo=contender.algo,
            env=task.env,
            env_kwargs=task.env_kwargs,
            seed=seed,
            budget=study.budget,
            evaluation=study.evaluation,
            hyperparameters=_hyperparameters(study, task, contender),
            save_every=study.save_every,
            action_repeat=contender.action_repeat,
        )
        for task in study.tasks
        for contender in study.contenders
        for seed in contender.seeds
    ]
    return sorted(runs, key=lambda run: run.seed)


def _hyperparameters(study: Study, task: Task, contender: Contender) -> dict[str, Any]:
    values = {**_entry(study, task, contender), **task.hyperparameters, **contender.hyperparameters}
    if repeat_of(values.get("env_wrapper")) > 1 or until_of(values.get("callback")) is not None:
        raise StudyError(
            f"{study.name}: algorithms.{contender.label} on {task.name} has ActionRepeat among its wrappers or "
            "RepeatUntil among its callbacks, and a study counts steps of the task: take them out (env_wrapper, "
            "callback), and give action_repeat to the algorithm"
        )
    if contender.action_repeat > 1:
        repeat = {_REPEAT: {"repeat": contender.action_repeat}}
        values["env_wrapper"] = [*as_list(values.get("env_wrapper")), repeat]
    return {key: value for key, value in values.items() if value is not None}


def _entry(study: Study, task: Task, contender: Contender) -> dict[str, Any]:
    where = f"{study.name}: algorithms.{contender.label}"
    path = regime_file(contender.algo, contender.regime, study.folder)
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise StudyError(f"{where}: {path.parent} has no file for {contender.algo!r}; it has {known}")
    entries = _entries(path)
    named = contender.entry or task.entry
    if named is not None and named not in entries:
        raise StudyError(f"{where}: {path} has no entry {named!r}; it has {sorted(entries)}")
    wanted = named or task.env
    found = entries.get(wanted, entries.get("default"))
    if found is None:
        raise StudyError(f"{where}: {path} has no entry {wanted!r} and no default: name one with entry")
    return copy.deepcopy(found)


@functools.cache
def _entries(path: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(path.read_text())


def regime_file(algo: str, regime: str, relative_to: Path) -> Path:
    """
    :param algo: RL Zoo's name of the algorithm
    :param regime: "paper", "small", "fast", "zoo", or a folder
    :param relative_to: where relative folders start
    :return: the YAML file of its entries, which need not exist
    """
    if regime in REGIMES:
        return our_file(algo, regime)
    return (zoo_folder() if regime == "zoo" else relative_to / regime) / f"{algo}.yml"
