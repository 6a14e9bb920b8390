"""What a run folder of RL Zoo holds about its training, read without judging it."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from stable_baselines3.common.monitor import LoadMonitorResultsError

from sb3_qflex.analysis.superiority import STEPS, read_events
from sb3_qflex.analysis.trained import run_arguments
from sb3_qflex.zoo.curves import Run, load_run
from sb3_qflex.zoo.progress import PROGRESS_FILE
from sb3_qflex.zoo.task_steps import read_settings, task_steps_of_run


class NoRunError(ValueError):
    """The folder holds no training run."""


@dataclass(frozen=True)
class RunFiles:
    """
    A training run.

    :param folder: e.g. ``logs/qflex/Pendulum-v1_1``
    :param algo: RL Zoo's name of the algorithm
    :param env_id: Gymnasium id
    :param curve: training episodes and evaluations
    :param eval_successes: share of successes of each evaluation, shape (evaluations,); None without such information
    :param logged: logged values, one row for each dump, with the column ``STEPS``; empty if none were kept
    :param logged_in: where they are from, for the reader
    :param hyperparams: as in the run's ``config.yml``
    :param command: the training command, "" if it was not kept
    :param versions: what it was trained with, as Stable-Baselines3 writes it into the model; empty without a model
    :param models: zip files of models, the last one first
    :param videos: mp4 and GIF files
    """

    folder: Path
    algo: str
    env_id: str
    curve: Run
    eval_successes: np.ndarray | None
    logged: pd.DataFrame
    logged_in: str
    hyperparams: Mapping[str, Any]
    command: str
    versions: Mapping[str, str]
    models: tuple[Path, ...]
    videos: tuple[Path, ...]

    def values(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """
        :param key: of a logged value, e.g. "train/flow_loss"
        :return: environment steps and finite values, shapes (n,); n is 0 if it was not logged
        """
        pairs = self.logged.reindex(columns=[STEPS, key]).to_numpy(float)
        steps, values = pairs[np.isfinite(pairs).all(axis=1)].T
        return steps, values


def read_run(folder: Path, tensorboard: Path | None = None) -> RunFiles:
    """
    Read a run folder. As with RL Zoo's ``enjoy``, its YAML files can execute code when read.

    :param folder: e.g. ``logs/qflex/Pendulum-v1_1``
    :param tensorboard: folder of event files to take logged values from, in place of the run's ``progress.csv``
    :return: the run
    :raises NoRunError: if the folder is none of a run, or has no training episodes; if there are no event files, or no
        scalars in them
    :raises ImportError: for event files without the package tensorboard
    """
    arguments = run_arguments(folder)
    if arguments is None:
        raise NoRunError(f"{folder} is no run folder of RL Zoo: it has no <environment>/args.yml.")
    settings: Path = arguments["stats_folder"]
    try:
        curve = load_run(folder)
    except LoadMonitorResultsError as error:
        raise NoRunError(f"{folder} has no monitor files, so nothing is known of its training: {error}") from error
    progress = folder / PROGRESS_FILE
    logged, logged_in = pd.DataFrame(), ""
    if tensorboard is not None:
        logged, logged_in = _events(tensorboard), f"the event files in {tensorboard}"
    elif progress.is_file() and progress.stat().st_size:
        logged, logged_in = pd.read_csv(progress), PROGRESS_FILE
    if STEPS in logged:
        logged = logged.assign(**{STEPS: task_steps_of_run(folder, logged[STEPS].to_numpy())})
    final = folder / f"{settings.name}.zip"
    models = tuple(path for path in (final, *sorted(folder.glob("*.zip"))) if path.is_file())
    return RunFiles(
        folder=folder,
        algo=arguments["algo"],
        env_id=str(arguments["env"]),
        curve=curve,
        eval_successes=_eval_successes(folder / "evaluations.npz"),
        logged=logged,
        logged_in=logged_in,
        hyperparams=read_settings(settings / "config.yml"),
        command=(settings / "command.txt").read_text().strip() if (settings / "command.txt").is_file() else "",
        versions=system_info(models[0]) if models else {},
        models=tuple(dict.fromkeys(models)),
        videos=tuple(sorted([*folder.glob("*.mp4"), *folder.glob("*.gif")])),
    )


def _events(folder: Path) -> pd.DataFrame:
    if not list(folder.glob("events.out.tfevents.*")):
        raise NoRunError(f"{folder} has no event files; give the folder of one run, such as tb/Pendulum-v1/QFlex_1.")
    logged = read_events(folder)
    if logged.empty:
        raise NoRunError(f"the event files in {folder} hold no scalars.")
    return logged


def _eval_successes(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    with np.load(path) as evaluations:
        return evaluations["successes"].mean(axis=1) if "successes" in evaluations.files else None


def system_info(model: Path) -> dict[str, str]:
    """System and versions by name that a model's zip file was saved with, as Stable-Baselines3 wrote them down."""
    with zipfile.ZipFile(model) as archive:
        if "system_info.txt" not in archive.namelist():
            return {}
        lines = archive.read("system_info.txt").decode().splitlines()
    pairs = (line.removeprefix("- ").partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
