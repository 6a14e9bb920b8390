"""Which YAML file ``rl_zoo3 train`` reads, when both RL Zoo and sb3-qflex could have one.

``-conf`` wins; else RL Zoo's own entry for this very id; else ours; else RL Zoo's ``default`` (ours for QFlex, which
RL Zoo has none for). A ``default`` is not an entry.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

_PACKAGE = Path(__file__).parents[1]
#: Folder of our YAML files, relative to :func:`our_folder`, by the name of the regime.
REGIMES = {"paper": ".", "small": "small"}


def our_folder() -> Path:
    """
    :return: the folder of our YAML files: beside the code when installed, at the top of a checkout
    """
    installed = _PACKAGE / "hyperparams"
    return installed if installed.is_dir() else _PACKAGE.parent / "hyperparams"


def zoo_folder() -> Path:
    """
    :return: the folder of RL Zoo's YAML files
    """
    import rl_zoo3

    return Path(rl_zoo3.__file__).parent / "hyperparams"


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """
    :param path: a hyperparameter file, which need not exist
    :return: its explicit entries by environment id (and RL Zoo's "atari"), without ``default``
    """
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text()) or {}
    return {key: value for key, value in content.items() if key != "default"}


def choose_file(algo: str, env_id: str, ours: Path | None = None, zoo: Path | None = None) -> tuple[Path, str]:
    """
    Choose the hyperparameter file for a run without ``-conf``.

    :param algo: RL Zoo's name of the algorithm, e.g. "qflex"
    :param env_id: Gymnasium id
    :param ours: our folder of YAML files, :func:`our_folder` by default
    :param zoo: RL Zoo's folder, :func:`zoo_folder` by default
    :return: the file, and a hint for the log ("" if there is nothing to say)
    """
    our_file = (ours or our_folder()) / f"{algo}.yml"
    zoo_file = (zoo or zoo_folder()) / f"{algo}.yml"
    ours_has_it = env_id in entries(our_file)
    if env_id in entries(zoo_file):
        hint = f"sb3-qflex has other hyperparameters for {env_id}: -conf {our_file}" if ours_has_it else ""
        return zoo_file, hint
    if ours_has_it or not zoo_file.is_file():
        small_file = our_file.parent / "small" / our_file.name
        hint = f"Hyperparameters for a small machine: -conf {small_file}" if env_id in entries(small_file) else ""
        return our_file, hint
    return zoo_file, ""


def with_our_files(init: Callable[..., None]) -> Callable[..., None]:
    """
    Let ``ExperimentManager.__init__`` find our files as well.

    :param init: the original method
    :return: the method with ``config`` filled in where the user gave none
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        arguments = signature.bind(*args, **kwargs).arguments
        if arguments.get("config"):
            init(*args, **kwargs)
            return
        path, hint = choose_file(arguments["algo"], arguments["env_id"])
        if hint:
            print(hint)
        # RL Zoo reports a missing file of its own itself.
        arguments["config"] = str(path)
        init(**arguments)

    return wrapper
