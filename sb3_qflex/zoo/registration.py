"""What this package adds to RL Zoo: algorithms with tuning spaces and hyperparameter files, and environments.

RL Zoo knows algorithms in several places, each in a module of its own. :func:`extend` adds our part to one of them;
it is called right after that module's import by :mod:`sb3_qflex.zoo.startup`, and for all of them by
:func:`register`. Adding twice changes nothing. :func:`register_algorithm` adds another algorithm to all that.

Processes that ``rl_zoo3``, ``compare`` or a study start know what a module registers when it is imported if the
environment variable ``SB3_QFLEX_ALGORITHMS`` names that module (several with commas).
"""

import os
import re
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_qflex.common.replay_hindsight import HindsightReplayBuffer
from sb3_qflex.common.replay_recent import (
    DictGeometricReplayBuffer,
    DictRecentReplayBuffer,
    GeometricReplayBuffer,
    RecentReplayBuffer,
)
from sb3_qflex.zoo.algorithms import ALGORITHMS, TUNING_OF_OTHERS, Tuning, ZooAlgorithm, import_named
from sb3_qflex.zoo.entry_checks import checking
from sb3_qflex.zoo.hyperparameters import with_our_files
from sb3_qflex.zoo.progress import with_progress_file
from sb3_qflex.zoo.trials import merging, searching
from sb3_qflex.zoo.vec_env import extend_manager
from sb3_qflex.zoo.wrapping import wrap_once

#: Packages that put environment ids into Gymnasium's registry, and the function that does it (importing is enough
#: where there is none).
ENVIRONMENT_PACKAGES = {"sb3_qflex.envs": "register_envs", "myosuite": None}

#: Replay buffers that an entry's ``replay_buffer_class`` can name beside RL Zoo's.
REPLAY_BUFFERS = (
    GeometricReplayBuffer,
    DictGeometricReplayBuffer,
    RecentReplayBuffer,
    DictRecentReplayBuffer,
    HindsightReplayBuffer,
)


def register() -> None:
    """Add our algorithms to the RL Zoo of this process, whether RL Zoo has been imported already or not."""
    for name in EXTENSIONS:
        extend(import_module(name))


def register_algorithm(
    name: str,
    algorithm_class: type[OffPolicyAlgorithm] | str,
    *,
    sample_params: Tuning | str | None = None,
    convert_params: Tuning | str | None = None,
    hyperparameters: str | os.PathLike[str] | None = None,
) -> None:
    """
    Make an off-policy algorithm known to RL Zoo as QFlex is: ``--algo``, tuning space, hyperparameter files, checks of
    its entries, ``progress.csv``, ``compare`` and studies. Doing so again replaces what was registered.

    :param name: RL Zoo's name of it, as in ``--algo``
    :param algorithm_class: a subclass of SB3's ``OffPolicyAlgorithm``, or ``"module:name"`` of one
    :param sample_params: tuning space, ``(trial, n_actions, n_envs, additional_args)`` to constructor arguments; by
        default that of :func:`sb3_qflex.zoo.tuning.sample_off_policy_params`
    :param convert_params: constructor arguments from ``trial.params``; by default
        :func:`sb3_qflex.zoo.tuning.convert_params`
    :param hyperparameters: a YAML file of entries by environment id, or a folder with ``<name>.yml`` and, for the small
        regime, ``small/<name>.yml``; none by default, so that ``-conf`` is needed
    :raises ValueError: if the name cannot be one, RL Zoo has another algorithm of this name, or there is no such file
    :raises TypeError: if the class is no off-policy algorithm
    """
    place = None if hyperparameters is None else Path(hyperparameters).resolve()
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(
            f"name must be letters, digits, '_', '-' and '.' only, as RL Zoo makes a folder of it: {name!r}."
        )
    if place is not None and not (place.is_file() or (place / f"{name}.yml").is_file()):
        raise ValueError(f"hyperparameters={hyperparameters!r} is neither a YAML file nor a folder with {name}.yml.")
    samplers = sample_params or ZooAlgorithm.sample_params, convert_params or ZooAlgorithm.convert_params
    algorithm = ZooAlgorithm(algorithm_class, *samplers, place)
    algorithm.load_class()
    zoo_algorithms = import_module("rl_zoo3.utils").ALGOS
    if name in zoo_algorithms and name not in ALGORITHMS:
        raise ValueError(f"--algo {name} is {zoo_algorithms[name].__name__} in RL Zoo already: choose another name.")
    ALGORITHMS[name] = algorithm
    _forget(name)
    register()


def _forget(name: str) -> None:
    tuning = import_module("rl_zoo3.hyperparams_opt")
    for table in (import_module("rl_zoo3.utils").ALGOS, tuning.HYPERPARAMS_SAMPLER, tuning.HYPERPARAMS_CONVERTER):
        table.pop(name, None)


def extend(module: ModuleType) -> None:
    """Add our part to one of the modules of RL Zoo that :data:`EXTENSIONS` names."""
    EXTENSIONS[module.__name__](module)


def _add_algorithms(utils: ModuleType) -> None:
    for name, algorithm in ALGORITHMS.items():
        if name not in utils.ALGOS:
            utils.ALGOS[name] = algorithm.load_class()
    import_named()


def _add_tuning(hyperparams_opt: ModuleType) -> None:
    for name, algorithm in (ALGORITHMS | TUNING_OF_OTHERS).items():
        hyperparams_opt.HYPERPARAMS_SAMPLER.setdefault(name, merging(algorithm.sample_params))
        hyperparams_opt.HYPERPARAMS_CONVERTER.setdefault(name, merging(algorithm.convert_params))


def _register_environments(import_envs: ModuleType) -> None:
    for package, function in ENVIRONMENT_PACKAGES.items():
        if find_spec(package) is None:
            continue
        try:
            module = import_module(package)
            if function is not None:
                getattr(module, function)()
        except Exception as error:  # one suite that is broken on this machine must not take the others away
            warnings.warn(f"The environments of {package} are not available: {error!r}", RuntimeWarning, stacklevel=2)


def _extend_experiments(exp_manager: ModuleType) -> None:
    # Entries name replay buffers, which RL Zoo evaluates among the names of this module.
    for buffer_class in REPLAY_BUFFERS:
        setattr(exp_manager, buffer_class.__name__, buffer_class)
    manager = exp_manager.ExperimentManager
    wrap_once(manager, "__init__", with_our_files)
    wrap_once(manager, "read_hyperparameters", checking)
    wrap_once(manager, "create_callbacks", with_progress_file)
    wrap_once(manager, "objective", searching)
    extend_manager(manager)


EXTENSIONS: dict[str, Callable[[ModuleType], None]] = {
    "rl_zoo3.utils": _add_algorithms,
    "rl_zoo3.hyperparams_opt": _add_tuning,
    "rl_zoo3.import_envs": _register_environments,
    "rl_zoo3.exp_manager": _extend_experiments,
}
