"""A run folder of RL Zoo as something that can be opened again: its model, its environment and its settings.

``args.yml`` and ``config.yml`` are read as RL Zoo reads them, with YAML's unsafe loader, and models and statistics are
pickles: open folders of people you trust only.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from huggingface_sb3 import EnvironmentName
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.zoo.registration import register


class NoRunFolderError(ValueError):
    """The folder is not one that ``rl_zoo3 train`` has written."""


@dataclass(frozen=True)
class RunFolder:
    """
    What ``rl_zoo3 train`` left of one run.

    :param path: e.g. ``logs/qflex/Pendulum-v1_1``
    :param algo: RL Zoo's name of the algorithm, e.g. "qflex"
    :param env_name: environment id; as a file name, it has dashes for slashes
    :param args: arguments of the training command
    :param hyperparams: hyperparameters of the run as in its ``config.yml``, unprocessed
    :param command: the training command, "" where it was not kept
    """

    path: Path
    algo: str
    env_name: EnvironmentName
    args: Mapping[str, Any]
    hyperparams: Mapping[str, Any]
    command: str

    @property
    def settings_folder(self) -> Path:
        """Where ``args.yml``, ``config.yml`` and the statistics of ``VecNormalize`` are."""
        return self.path / self.env_name

    @property
    def final_model(self) -> Path:
        """Where training saves its last model; an interrupted run may not have it."""
        return self.path / f"{self.env_name}.zip"

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment: those of the command line, or else of the hyperparameter file."""
        return dict(self.args.get("env_kwargs") or self.hyperparams.get("env_kwargs") or {})

    def make_env(self, seed: int = 0, **env_kwargs: Any) -> VecEnv:
        """
        The run's environment for a trained model, with its wrappers and its frozen ``VecNormalize`` statistics.

        :param seed: seed of the environment
        :param env_kwargs: arguments that replace those of the run
        :return: one environment; its rewards are not normalised
        :raises ValueError: if the run was normalised and the statistics are missing
        """
        from rl_zoo3.utils import create_test_env, get_saved_hyperparams

        register()
        for package in self.args.get("gym_packages") or ():
            import_module(package)
        hyperparams, stats_path = get_saved_hyperparams(str(self.settings_folder), test_mode=True)
        hyperparams.pop("env_kwargs", None)
        return create_test_env(
            self.env_name.gym_id,
            stats_path=stats_path,
            seed=seed,
            should_render=False,
            hyperparams=deepcopy(hyperparams),
            env_kwargs={**self.env_kwargs, **env_kwargs},
        )


def open_run(path: Path) -> RunFolder:
    """
    Read the settings of a run folder.

    :param path: e.g. ``logs/qflex/Pendulum-v1_1``
    :return: the run
    :raises NoRunFolderError: if there is not exactly one ``args.yml`` in a folder below
    """
    found = sorted(path.glob("*/args.yml"))
    if len(found) != 1:
        raise NoRunFolderError(
            f"{path} is no run folder of RL Zoo: expected one <environment id>/args.yml in it, found {len(found)}. "
            "Give a folder such as logs/qflex/Pendulum-v1_1."
        )
    args, config = (_read_yaml(found[0].with_name(name)) for name in ("args.yml", "config.yml"))
    command = found[0].with_name("command.txt")
    return RunFolder(
        path=path,
        algo=args["algo"],
        env_name=EnvironmentName(args["env"]),
        args=args,
        hyperparams=config,
        command=command.read_text().strip() if command.is_file() else "",
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    # Unsafe, as RL Zoo writes ordered dictionaries (and whatever else an argument was) as Python objects.
    return dict(yaml.load(path.read_text(), Loader=yaml.UnsafeLoader) or {}) if path.is_file() else {}
