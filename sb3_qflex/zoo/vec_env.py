"""``WorkerVecEnv`` in RL Zoo's experiments, which know "dummy" and "subproc" only.

A hyperparameter entry chooses with ``vec_env: worker`` (or ``ray``, ``subproc``, ``dummy``) and may give arguments in
``vec_env_kwargs``, a mapping or a string such as ``"dict(n_workers=4)"``; ``--vec-env`` on the command line wins.
"""

from collections.abc import Callable, Sequence
from typing import Any

from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_qflex.vec_env.worker_vec_env import WorkerVecEnv
from sb3_qflex.zoo.wrapping import wrap_once

VEC_ENVS: dict[str, tuple[Callable[..., VecEnv], dict[str, Any]]] = {
    "dummy": (DummyVecEnv, {}),
    "subproc": (SubprocVecEnv, {}),
    "worker": (WorkerVecEnv, {}),
    "ray": (WorkerVecEnv, {"backend": "ray"}),
}
_FLAG = "--vec-env"


def take_argument(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """
    Take ``--vec-env`` out of the arguments of the Zoo's train command, whose parser refuses our choices.

    :return: the other arguments, and the choice, None if there was none
    """
    rest: list[str] = []
    choice = None
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == _FLAG:
            choice = _known(value if equals else next(words, ""))
        else:
            rest.append(word)
    return rest, choice


def extend_manager(manager: type, choice: str | None = None) -> None:
    """
    Teach the Zoo's experiment manager the ``vec_env`` keys. Doing so again only sets the choice, if one is given.

    :param choice: of the command line, None to leave it to the hyperparameters
    """
    if choice is not None or not hasattr(manager, "vec_env_choice"):
        manager.vec_env_choice = choice and _known(choice)  # type: ignore[attr-defined]
    wrap_once(manager, "_preprocess_hyperparams", _choosing)
    wrap_once(manager, "create_envs", _evaluating_here)


def _known(name: Any) -> str:
    if name not in VEC_ENVS:
        raise ValueError(f"vec_env: expected one of {list(VEC_ENVS)}, got {name!r}")
    return name


def _choosing(preprocess: Callable[..., Any], self: Any, hyperparams: dict[str, Any]) -> Any:
    name, kwargs = hyperparams.pop("vec_env", None), hyperparams.pop("vec_env_kwargs", None) or {}
    if isinstance(kwargs, str):
        # As the Zoo reads its other ..._kwargs.
        kwargs = eval(kwargs)
    if self.vec_env_choice not in (None, name):
        # The entry's arguments are for the entry's choice.
        name, kwargs = self.vec_env_choice, {}
    if name is not None:
        self.vec_env_class, defaults = VEC_ENVS[_known(name)]
        self.vec_env_kwargs = {**defaults, **kwargs}
    elif kwargs:
        raise ValueError(f"vec_env_kwargs: given {kwargs!r} without vec_env; add one of {list(VEC_ENVS)}")
    return preprocess(self, hyperparams)


def _evaluating_here(
    create_envs: Callable[..., VecEnv], self: Any, n_envs: int, eval_env: bool = False, no_log: bool = False
) -> VecEnv:
    kwargs = self.vec_env_kwargs
    if eval_env and kwargs.get("backend") == "ray":
        # The actors of training may hold all cores of the cluster: others would wait for them for ever.
        local = {key: value for key, value in kwargs.items() if key not in ("ray_options", "n_workers")}
        self.vec_env_kwargs = {**local, "backend": "process"}
    try:
        return create_envs(self, n_envs, eval_env, no_log)
    finally:
        self.vec_env_kwargs = kwargs
