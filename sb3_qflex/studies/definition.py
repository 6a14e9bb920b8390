"""What a study compares, read from its YAML file; whatever is wrong there is refused by the name of its key."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PACKAGED = Path(__file__).with_name("catalogue")
#: Above this number of evaluation environments nothing is gained.
_MOST_ENVIRONMENTS = 10


class StudyError(ValueError):
    """A study that cannot be run as it is defined."""


@dataclass(frozen=True)
class Evaluation:
    """
    How runs are evaluated while they train.

    :param every: environment steps between two evaluations
    :param episodes: episodes of each
    :param environments: copies that the episodes are spread over
    """

    every: int
    episodes: int
    environments: int


@dataclass(frozen=True)
class Task:
    """
    A task.

    :param name: its name in the study
    :param env: Gymnasium id
    :param env_kwargs: arguments of the environment
    :param entry: entry of the hyperparameter files to use, the id by default
    :param hyperparameters: values that replace the entry's for all algorithms; None takes a key out
    :param actions: |A|, for studies that vary it
    :param threshold: evaluation return whose first crossing is reported
    :param paper: what the paper's figures show, with the error of reading it off
    """

    name: str
    env: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    entry: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    actions: int | None = None
    threshold: float | None = None
    paper: str = ""


@dataclass(frozen=True)
class Contender:
    """
    An algorithm with its settings.

    :param label: its name in the report
    :param algo: RL Zoo's name
    :param seeds: one run each
    :param regime: "paper", "small" or "fast" (our files), "zoo" (RL Zoo's), or a folder of YAML files
    :param entry: entry of the hyperparameter file, the task's by default
    :param hyperparameters: values that replace the entry's, and the task's
    :param action_repeat: environment steps of each action; the budget counts those, not actions
    """

    label: str
    algo: str
    seeds: tuple[int, ...]
    regime: str
    entry: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    action_repeat: int = 1


@dataclass(frozen=True)
class Study:
    """
    A study.

    :param name: the file's name without its ending
    :param folder: where the file lies; folders of regimes are relative to it
    :param title: heading of the report
    :param budget: environment steps of each run
    :param evaluation: how runs are evaluated
    :param tasks: the tasks
    :param contenders: the algorithms
    :param text: what it is for, shown in the report
    :param save_every: environment steps between models that are kept, None for the last only
    :param file: the file's name
    """

    name: str
    folder: Path
    title: str
    budget: int
    evaluation: Evaluation
    tasks: tuple[Task, ...]
    contenders: tuple[Contender, ...]
    text: str = ""
    save_every: int | None = None
    file: str = ""

    @property
    def argument(self) -> str:
        """What commands take for it: the name of a study of the package, the file of another."""
        return self.name if self.folder == PACKAGED else self.file


def packaged_studies() -> dict[str, Path]:
    """:return: the files of the studies that come with the package, by name"""
    return {path.stem: path for path in sorted(PACKAGED.glob("*.yml"))}


def load_study(name: str) -> Study:
    """
    :param name: name of a packaged study, or path of a YAML file
    :return: the study
    :raises StudyError: if there is no such study, or something in it is wrong
    """
    path = packaged_studies().get(name, Path(name))
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        known = ", ".join(packaged_studies())
        raise StudyError(f"{name!r} is no study: give the path of a YAML file or one of {known}") from error
    except yaml.YAMLError as error:
        raise StudyError(f"{path} is no YAML: {error}") from error
    try:
        return _study(content, path)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error


Reader = Callable[[Any, str], Any]


def _study(content: Any, path: Path) -> Study:
    values = _read(
        content,
        "",
        required={"title": _text, "budget": _positive, "evaluation": _evaluation, "tasks": _mapping,
                  "algorithms": _mapping, "seeds": _seeds, "regime": _text},
        optional={"text": _text, "save_every": _positive},
    )  # fmt: skip
    shared = {key: values.pop(key) for key in ("seeds", "regime")}
    values["tasks"] = tuple(_task(name, task) for name, task in values["tasks"].items())
    values["contenders"] = tuple(_contender(label, value, shared) for label, value in values.pop("algorithms").items())
    _distinct([task.name for task in values["tasks"]], "tasks")
    _distinct([contender.label for contender in values["contenders"]], "algorithms")
    study = Study(name=path.stem, folder=path.parent, file=path.name, **values)
    if study.evaluation.every > study.budget:
        raise StudyError(f"evaluation.every: {study.evaluation.every} is more than the budget {study.budget}")
    return study


def _evaluation(value: Any, where: str) -> Evaluation:
    values = _read(value, where, {"every": _positive, "episodes": _positive}, {"environments": _positive})
    return Evaluation(**{"environments": min(values["episodes"], _MOST_ENVIRONMENTS), **values})


def _task(name: Any, value: Any) -> Task:
    optional: dict[str, Reader] = {"env_kwargs": _mapping, "entry": _text, "hyperparameters": _mapping}
    optional |= {"actions": _positive, "threshold": _number, "paper": _text}
    return Task(name=_text(name, "tasks"), **_read(value, f"tasks.{name}", {"env": _text}, optional))


def _contender(label: Any, value: Any, shared: Mapping[str, Any]) -> Contender:
    optional = {"algo": _text, "seeds": _seeds, "regime": _text, "entry": _text, "hyperparameters": _mapping}
    optional |= {"action_repeat": _positive}
    values = {} if value is None else _read(value, f"algorithms.{label}", {}, optional)
    return Contender(label=_text(label, "algorithms"), **{"algo": label, **shared, **values})


def _read(value: Any, where: str, required: Mapping[str, Reader], optional: Mapping[str, Reader]) -> dict[str, Any]:
    """Read the keys of a mapping, each by its reader."""
    readers = {**required, **optional}
    prefix = f"{where}." if where else ""
    for key in _mapping(value, where or "the study"):
        if key not in readers:
            near = difflib.get_close_matches(str(key), readers, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise StudyError(f"{prefix}{key}: unknown key{hint}; allowed: {', '.join(readers)}")
    missing = [key for key in required if key not in value]
    if missing:
        raise StudyError(f"{prefix}{missing[0]}: missing")
    return {key: readers[key](item, f"{prefix}{key}") for key, item in value.items()}


def _reader(expected: str, accepts: Callable[[Any], bool]) -> Reader:
    def read(value: Any, where: str) -> Any:
        if not accepts(value):
            raise StudyError(f"{where}: expected {expected}, got {value!r}")
        return value

    return read


_mapping = _reader("a mapping of at least one key", lambda value: isinstance(value, dict) and bool(value))
_text = _reader("a text", lambda value: isinstance(value, str) and bool(value.strip()))
# ``type``, since True and False are integers, too.
_number = _reader("a number", lambda value: type(value) in (int, float))
_positive = _reader("a positive integer", lambda value: type(value) is int and value > 0)


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    """A number of seeds, from 0 on, or their list."""
    if not isinstance(value, list):
        return tuple(range(_positive(value, where)))
    if not value or len(set(value)) < len(value) or any(type(seed) is not int or seed < 0 for seed in value):
        raise StudyError(f"{where}: expected a number of seeds or a list of different ones from 0 on, got {value!r}")
    return tuple(value)


def folder_name(name: str) -> str:
    """The folder of a task of this name, or of an algorithm of this label."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.") or "_"


def _distinct(names: list[str], kind: str) -> None:
    folders: dict[str, str] = {}
    for name in names:
        other = folders.setdefault(folder_name(name).lower(), name)
        if other != name:
            raise StudyError(f"{kind}.{name}: would share its folder with {other!r}; rename one of them")
