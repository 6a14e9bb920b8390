"""Names of actuators, and groups of them that their names give."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

_SIDE = re.compile(r"^(left|right|l|r)_|_(left|right|l|r)$", re.IGNORECASE)
#: What precedes the first digit, underscore or capitalised part, such as the compartment in "addmagDist".
_STEM = re.compile(r"^(.+?)(?=[A-Z][a-z]{2,}|\d|_|$)")


def actuator_names(env: VecEnv) -> list[str] | None:
    """
    Names of the actuators that the action's coordinates drive, of environments in this process or in others.

    They are MuJoCo's, repeated for the copies of :class:`sb3_qflex.envs.OverActuated`; None if the environment has no
    MuJoCo model, or its actions are not one for each actuator.
    """
    model = _attribute(env, "model")
    if not hasattr(model, "nu") or not hasattr(model, "actuator"):
        return None
    copies = _attribute(env, "copies") or 1
    names = [str(model.actuator(index).name) for index in range(model.nu) for _ in range(copies)]
    return names if (len(names),) == env.action_space.shape and all(names) else None


def _attribute(env: VecEnv, name: str) -> Any:
    """Of the first environment; None where it has no such attribute, or keeps no Gymnasium environments at all."""
    try:
        # Asked first: a worker process of SubprocVecEnv dies of an attribute that is not there.
        has_it = env.env_method("has_wrapper_attr", name, indices=[0])[0]
    except (AttributeError, NotImplementedError):
        return None
    return env.get_attr(name, [0])[0] if has_it else None


def group_of(name: str) -> str:
    """
    The group of an actuator: the stem of its name, with the side of the body.

    A side is ``l_``, ``r_``, ``left_`` or ``right_`` in front, or the same behind (``_l``, ...). The stem is what
    precedes the first digit, underscore or capitalised part: ``glmax1_r``, ``glmax2_r`` are ``glmax r``;
    ``addmagDist_l`` is ``addmag l``; ``FDS5`` is ``FDS``; ``L_Hip_x`` is ``Hip l``. So the heads, compartments and
    segments of one muscle are a group, and so are the axes of one joint.
    """
    side = _SIDE.search(name)
    bare = _SIDE.sub("", name, count=1) or name
    stem = _STEM.match(bare)
    label = (stem.group(1) if stem else bare) or bare
    return label if side is None else f"{label} {(side.group(1) or side.group(2))[0].lower()}"


def groups(
    names: Sequence[str] | None, action_dim: int, patterns: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """
    The group of each coordinate of the action.

    :param names: of the actuators, None where they have none
    :param action_dim: |A|
    :param patterns: shell patterns of names by group, in place of :func:`group_of`; names without a match are "other"
    :return: |A| groups; without names every coordinate is a group of its own
    :raises ValueError: if patterns are given for actuators without names
    """
    if names is None:
        if patterns is not None:
            raise ValueError("groups are given by names of actuators, but those of this environment have none")
        return [str(index) for index in range(action_dim)]
    if patterns is None:
        return [group_of(name) for name in names]
    return [
        next((group for group, some in patterns.items() if any(fnmatchcase(name, one) for one in some)), "other")
        for name in names
    ]
