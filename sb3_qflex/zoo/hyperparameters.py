"""Which YAML file ``rl_zoo3 train`` reads, when both RL Zoo and sb3-qflex could have one.

``-conf`` wins; else RL Zoo's own entry for this very id; else ours; else RL Zoo's ``default`` (ours for an algorithm of
ours, where RL Zoo has no file). A ``default`` is not an entry. For algorithms of others RL Zoo's own rule stays
untouched unless our folder has this very id and RL Zoo's file has not.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from sb3_qflex.zoo.algorithms import ALGORITHMS, import_named

_PACKAGE = Path(__file__).parents[1]
#: Folder of our YAML files, relative to :func:`our_folder`, by the name of the regime.
REGIMES = {"paper": ".", "small": "small", "fast": "fast"}


def our_folder() -> Path:
    """The folder of our YAML files: beside the code when installed, at the top of a checkout."""
    installed = _PACKAGE / "hyperparams"
    return installed if installed.is_dir() else _PACKAGE.parent / "hyperparams"


def our_file(algo: str, regime: str = "paper") -> Path:
    """An algorithm's file in a regime, which need not exist; the one that it was registered with, if it was."""
    import_named()
    registered = ALGORITHMS[algo].hyperparameters if algo in ALGORITHMS else None
    place = registered or our_folder()
    return place if place.is_file() else place / REGIMES[regime] / f"{algo}.yml"


def zoo_folder() -> Path:
    """The folder of RL Zoo's YAML files, by RL Zoo's own rule: in the package, else beside it as in a checkout."""
    import rl_zoo3

    package = Path(rl_zoo3.__file__).parent
    return (package if (package / "hyperparams").is_dir() else package.parent) / "hyperparams"


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of a file, which need not exist, by environment id (and RL Zoo's "atari"), without ``default``."""
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text()) or {}
    return {key: value for key, value in content.items() if key != "default"}


def choose_file(algo: str, env_id: str, ours: Path | None = None, zoo: Path | None = None) -> tuple[Path, str]:
    """
    The hyperparameter file for a run without ``-conf``, and a hint for the log ("" if there is nothing to say).

    :param ours: folder of our YAML files, that of :func:`our_file` by default
    :param zoo: RL Zoo's folder, :func:`zoo_folder` by default
    """
    our_path = ours / f"{algo}.yml" if ours else our_file(algo)
    zoo_path = (zoo or zoo_folder()) / f"{algo}.yml"
    ours_has_it = env_id in entries(our_path)
    if not (ours_has_it or (algo in ALGORITHMS and not zoo_path.is_file())):
        return zoo_path, ""
    if env_id in entries(zoo_path):
        return zoo_path, f"sb3-qflex has other hyperparameters for {env_id}: -conf {our_path}"
    small = our_path.parent / REGIMES["small"] / our_path.name
    return our_path, f"Hyperparameters for a small machine: -conf {small}" if env_id in entries(small) else ""


def with_our_files(init: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Around ``ExperimentManager.__init__``: fills ``config`` in where the user gave none and ours is to be taken."""
    arguments = inspect.signature(init).bind(*args, **kwargs).arguments
    algo, env_id = arguments["algo"], arguments["env_id"]
    if arguments.get("config"):
        return init(*args, **kwargs)
    path, hint = choose_file(algo, env_id)
    if hint:
        print(hint)
    if path == zoo_folder() / f"{algo}.yml":
        return init(*args, **kwargs)
    if not path.is_file():
        raise ValueError(
            f"There are no hyperparameters for {algo!r}, {path} is missing: give a file with -conf, or a file or "
            "folder with register_algorithm(..., hyperparameters=...)."
        )
    init(**{**arguments, "config": str(path)})
