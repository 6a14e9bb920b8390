"""What QFlex adds to RL Zoo: the algorithm, its tuning space, environments and hyperparameter files.

RL Zoo knows algorithms in several places, each in a module of its own. :func:`extend` adds our part to one of them;
it is called right after that module's import by :mod:`sb3_qflex.zoo.startup`, and for all of them by
:func:`register`. Adding twice changes nothing.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from sb3_qflex.zoo.entry_checks import checking
from sb3_qflex.zoo.hyperparameters import with_our_files
from sb3_qflex.zoo.progress import keep_progress
from sb3_qflex.zoo.vec_env import extend_manager

#: Packages that put environment ids into Gymnasium's registry, and the function that does it (importing is enough
#: where there is none).
ENVIRONMENT_PACKAGES = {"sb3_qflex.envs": "register_envs", "myosuite": None}


def register() -> None:
    """Add QFlex to the RL Zoo of this process, whether RL Zoo has been imported already or not."""
    for name in EXTENSIONS:
        extend(import_module(name))


def extend(module: ModuleType) -> None:
    """
    Add our part to one module of RL Zoo.

    :param module: one of the modules named in :data:`EXTENSIONS`
    """
    EXTENSIONS[module.__name__](module)


def _add_algorithm(utils: ModuleType) -> None:
    from sb3_qflex.qflex.qflex import QFlex

    utils.ALGOS.setdefault("qflex", QFlex)


def _add_tuning(hyperparams_opt: ModuleType) -> None:
    from sb3_qflex.zoo import tuning

    samplers = {"qflex": tuning.sample_qflex_params, "crossq": tuning.sample_crossq_params}
    for algo, sampler in samplers.items():
        # Whatever RL Zoo has or gets for CrossQ itself comes first.
        hyperparams_opt.HYPERPARAMS_SAMPLER.setdefault(algo, sampler)
        hyperparams_opt.HYPERPARAMS_CONVERTER.setdefault(algo, tuning.convert_params)


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
    manager = exp_manager.ExperimentManager
    if not hasattr(manager.__init__, "__wrapped__"):
        manager.__init__ = with_our_files(manager.__init__)
        manager.read_hyperparameters = checking(manager.read_hyperparameters)
    extend_manager(manager)
    keep_progress(manager)


EXTENSIONS: dict[str, Callable[[ModuleType], None]] = {
    "rl_zoo3.utils": _add_algorithm,
    "rl_zoo3.hyperparams_opt": _add_tuning,
    "rl_zoo3.import_envs": _register_environments,
    "rl_zoo3.exp_manager": _extend_experiments,
}
