"""Trained models with the environment they were trained on: a run folder of RL Zoo, a model in one, or a zip alone."""

import importlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from inspect import signature
from itertools import takewhile
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml
from huggingface_sb3 import EnvironmentName
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.zoo.listed import BONUS, REPEAT, without
from sb3_qflex.zoo.registration import register

Wrapper = Callable[[gym.Env], gym.Env]


class ModelError(ValueError):
    """A path is no model or run folder that can be analysed."""


@dataclass(frozen=True)
class Task:
    """
    The environment of a model, as it was trained.

    :param env_id: Gymnasium id
    :param env_kwargs: arguments of its constructor
    :param hyperparams: of the run, as RL Zoo saved them; empty for a model outside of a run folder
    :param stats_folder: RL Zoo's folder with ``config.yml`` and ``vecnormalize.pkl``; None outside of a run folder
    :param checkpoint_stats: statistics of VecNormalize that were saved with a checkpoint
    :param repeat_ended: whether the model came past the end of its action repeat, so that it acts at every step
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    hyperparams: dict[str, Any] = field(default_factory=dict)
    stats_folder: Path | None = None
    checkpoint_stats: Path | None = None
    repeat_ended: bool = False

    def make(self, n_envs: int = 1, seed: int = 0, wrappers: Sequence[Wrapper] = ()) -> VecEnv:
        """
        The environment with the run's wrappers and VecNormalize statistics (frozen; rewards are not normalised). The
        bonus of :class:`sb3_qflex.envs.AliveBonus` is for learning alone, and left out.

        :param n_envs: copies, all in this process
        :param seed: copy i is seeded with ``seed + i``
        :param wrappers: further Gymnasium wrappers, inside of the run's own
        """
        from rl_zoo3.utils import create_test_env

        hyperparams = deepcopy(self.hyperparams)
        left_out = (BONUS, REPEAT) if self.repeat_ended else (BONUS,)
        hyperparams["env_wrapper"] = [*wrappers, *without(left_out, hyperparams.get("env_wrapper"))] or None
        env = create_test_env(
            self.env_id,
            n_envs=n_envs,
            stats_path=None if self.stats_folder is None else str(self.stats_folder),
            seed=seed,
            should_render=False,
            hyperparams=hyperparams,
            env_kwargs=self.env_kwargs,
            vec_env_cls=DummyVecEnv,
        )
        if self.checkpoint_stats is not None and isinstance(env, VecNormalize):
            env = VecNormalize.load(str(self.checkpoint_stats), env.venv)
            env.training = env.norm_reward = False
        return env


@dataclass(frozen=True)
class Trained:
    """
    A model and its environment.

    :param label: its name in tables and figures
    :param model: the model
    :param task: its environment
    :param folder: its run folder, None for a zip outside of one
    """

    label: str
    model: BaseAlgorithm
    task: Task
    folder: Path | None = None

    @property
    def policy(self) -> QFlexPolicy:
        """
        The policy of a QFlex model.

        :raises ModelError: for another algorithm's
        """
        if not isinstance(self.model, QFlex):
            raise ModelError(f"{self.label} is a {type(self.model).__name__} model; this analysis needs a QFlex model.")
        return self.model.policy

    @property
    def flow_policy(self) -> QFlexPolicy:
        """
        The policy of a QFlex model whose velocity field was trained.

        :raises ModelError: for others
        """
        policy = self.policy
        assert isinstance(self.model, QFlex)
        if self.model.exploration != "flow" and self.model.bootstrap != "flow":
            raise ModelError(
                f"{self.label} was trained with exploration={self.model.exploration!r}, which trains no velocity "
                "field; this analysis needs a model trained with exploration='flow'."
            )
        return policy


def load(
    path: Path, env_id: str | None = None, algo: str | None = None, env_kwargs: dict[str, Any] | None = None
) -> Trained:
    """
    Load a model with its environment.

    As with RL Zoo's ``enjoy``, files of a run folder can execute code when read: load only those you trust.

    :param path: a run folder of RL Zoo (its last model), a model in one (``best_model.zip``, a checkpoint), or a zip
        elsewhere, which gets a plain environment without VecNormalize
    :param env_id: the environment's id, where there is no run folder to say it
    :param algo: RL Zoo's name of the algorithm, where neither run folder nor the class of the policy says it
    :param env_kwargs: arguments of the environment, in place of the run's of the same names
    :raises ModelError: if that is not what ``path`` is
    """
    register()
    import rl_zoo3.import_envs  # noqa: F401 registers ids

    folder = path if path.is_dir() else path.parent
    arguments = run_arguments(folder)
    if arguments is None:
        if path.is_dir():
            raise ModelError(f"{path} is no run folder of RL Zoo: it has no <environment>/args.yml.")
        if env_id is None:
            raise ModelError(f"{path} is not in a run folder of RL Zoo: say with --env which environment it is for.")
        task = Task(env_id)
    else:
        task = _task_of_run(folder, arguments)
        algo = algo or arguments["algo"]
    zip_path = folder / f"{EnvironmentName(task.env_id)}.zip" if path.is_dir() else path
    if not zip_path.is_file():
        raise ModelError(f"There is no model {zip_path}.")
    statistics = zip_path.with_name(zip_path.name.replace("model_", "model_vecnormalize_")).with_suffix(".pkl")
    if statistics.is_file():
        task = replace(task, checkpoint_stats=statistics)
    task = replace(
        task, env_kwargs={**task.env_kwargs, **(env_kwargs or {})}, repeat_ended=_has_ended_its_repeat(zip_path)
    )
    model = _load_model(zip_path, algo, task)
    names = [folder.resolve().name] if arguments else []
    names += [] if path.is_dir() else [path.stem]
    return Trained(" ".join([type(model).__name__, *names]), model, task, folder if arguments else None)


def load_all(paths: Sequence[Path], env_id: str | None = None, algo: str | None = None) -> list[Trained]:
    """
    :func:`load` of each, with labels that differ: models of one name are told apart by :func:`what_differs`.

    A folder that is no run folder stands for the finished runs below it, so for a study or one of its tasks.
    """
    paths = [one for path in paths for one in (_runs_below(path) or [path])]
    found = [load(path, env_id, algo) for path in paths]
    if env_id is not None and env_id not in (ids := {one.task.env_id for one in found}):
        raise ModelError(f"--env {env_id} is for zip files outside of run folders; these models are of {sorted(ids)}.")
    for label in {one.label for one in found}:
        alike = [index for index, one in enumerate(found) if one.label == label]
        if len(alike) > 1:
            for index, name in zip(alike, what_differs([paths[index] for index in alike]), strict=True):
                found[index] = replace(found[index], label=f"{type(found[index].model).__name__} {name}")
    return found


def _runs_below(path: Path) -> list[Path]:
    """Run folders with a model below a folder that is none itself."""
    if not path.is_dir() or run_arguments(path) is not None:
        return []
    folders = sorted(file.parent.parent for file in path.rglob("args.yml"))
    return [one for one in folders if list(one.glob("*.zip"))]


def load_one(paths: Sequence[Path], env_id: str | None = None, algo: str | None = None) -> Trained:
    """:func:`load` of the only path; a ModelError if there are several."""
    if len(paths) > 1:
        raise ModelError(f"this analysis takes one model, got {len(paths)}: run it once for each, with --out")
    return load(paths[0], env_id, algo)


def one_task(models: Sequence[Trained]) -> str:
    """The environment id of all the models; a ModelError if they are of several."""
    ids = sorted({one.task.env_id for one in models})
    if len(ids) > 1:
        raise ModelError(f"models are compared on one task, but these are of {ids}")
    return ids[0]


def case_of(trained: Trained, pool_seeds: bool) -> str:
    """What a model counts as: itself, or with ``pool_seeds`` all that differ in a folder ``seed<k>`` alone."""
    return re.sub(r"[ /]seed\d+(?=/|$)", "", trained.label) if pool_seeds else trained.label


def what_differs(paths: Sequence[Path]) -> list[str]:
    """
    Each of two or more paths without the folders that all begin or end with.

    Of ``study/qflex/seed0/zoo`` and ``study/qflex/seed1/zoo``: ``seed0``, ``seed1``; numbers from 1 where these would
    not tell all apart.
    """
    ends = _without_shared([path.absolute().parts for path in paths])
    names = ["/".join(parts[::-1]) for parts in _without_shared([parts[::-1] for parts in ends])]
    return names if all(names) and len(set(names)) == len(names) else [f"({n})" for n in range(1, len(names) + 1)]


def _without_shared(sequences: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The sequences without what all begin with."""
    columns = zip(*sequences, strict=False)
    n_shared = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
    return [one[n_shared:] for one in sequences]


def run_arguments(folder: Path) -> dict[str, Any] | None:
    """Arguments of the training command; None if the folder is no run folder."""
    files = list(folder.glob("*/args.yml"))
    if len(files) != 1:
        return None
    with files[0].open() as file:
        return dict(yaml.load(file, Loader=yaml.UnsafeLoader), stats_folder=files[0].parent)


def _task_of_run(folder: Path, arguments: dict[str, Any]) -> Task:
    from rl_zoo3.utils import get_saved_hyperparams

    for package in arguments.get("gym_packages") or []:
        importlib.import_module(package)
    stats_folder = arguments["stats_folder"]
    hyperparams, _ = get_saved_hyperparams(os.fspath(stats_folder), norm_reward=False, test_mode=True)
    env_kwargs = {**(hyperparams.pop("env_kwargs", None) or {}), **(arguments.get("env_kwargs") or {})}
    return Task(str(arguments["env"]), env_kwargs, dict(hyperparams), stats_folder)


def _has_ended_its_repeat(path: Path) -> bool:
    """Whether :class:`sb3_qflex.RepeatUntil` did so before the model was saved: a checkpoint may be from before."""
    # What is wrong with a damaged file is said when it is loaded.
    with suppress(zipfile.BadZipFile, zlib.error, KeyError, ValueError), zipfile.ZipFile(path) as file:
        return json.loads(file.read("data")).get("repeat_ended_at") is not None
    return False


def _load_model(path: Path, algo: str | None, task: Task) -> BaseAlgorithm:
    from rl_zoo3.utils import ALGOS

    if algo is not None and algo not in ALGOS:
        raise ModelError(f"algo={algo!r} is unknown; RL Zoo knows {sorted(ALGOS)}.")
    algorithm = ALGOS[algo] if algo is not None else algorithm_of(path)
    kwargs: dict[str, Any] = {}
    if issubclass(algorithm, OffPolicyAlgorithm) and not issubclass(algorithm, QFlex):
        # Others than QFlex allocate their replay buffer when they are loaded.
        kwargs = {"buffer_size": 1, "optimize_memory_usage": False}
    return algorithm.load(path, env=task.make(), device="cpu", **kwargs)


def algorithm_of(path: Path) -> type[BaseAlgorithm]:
    """
    The algorithm of a model's zip file, by the class of its policy; a ModelError if RL Zoo knows none.

    Of several with that class, such as A2C and PPO, it is the one whose arguments the file has.
    """
    register()
    from rl_zoo3.utils import ALGOS

    data = load_from_zip_file(path)[0] or {}
    policy_class = data.get("policy_class")
    # A policy class of the user's belongs where its nearest base class does.
    bases = getattr(policy_class, "__mro__", ())
    known = ([one for one in ALGOS.values() if base in one.policy_aliases.values()] for base in bases)
    found = next(filter(None, known), [])
    if not found:
        raise ModelError(f"{path}: its policy {policy_class} belongs to no algorithm of RL Zoo.")
    # The first of those that differ in nothing but defaults, such as QFlex and CrossQ, is the base class.
    found.sort(key=lambda one: len(one.__mro__))
    arguments = {one: _arguments_of(one) for one in found}
    return min(found, key=lambda one: (len(arguments[one] - data.keys()), -len(arguments[one] & data.keys())))


def _arguments_of(algorithm: type[BaseAlgorithm]) -> set[str]:
    """Names of arguments, those of base classes too, which a subclass may pass on unnamed."""
    constructors = [base.__dict__["__init__"] for base in algorithm.__mro__[:-1] if "__init__" in base.__dict__]
    arguments = [one for constructor in constructors for one in signature(constructor).parameters.values()]
    return {one.name for one in arguments if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
