"""Which parts of an environment's info leave the worker."""

from typing import Any

import numpy as np

from sb3_qflex.vec_env.layout import SCALAR_TYPES

# Read by SB3 (rollouts, evaluation, replay buffers) and the Zoo. ``terminal_observation`` and
# ``TimeLimit.truncated`` are written by the VecEnv itself.
EPISODE = "episode"
SUCCESS = "is_success"
# MyoSuite's word for success, and the place of its reward terms.
MYOSUITE_SUCCESS = "solved"
MYOSUITE_REWARDS = "rwd_dict"


def success(info: dict[str, Any]) -> Any:
    """
    :param info: of one step
    :return: ``is_success``, else MyoSuite's ``solved``, else None
    """
    return info[SUCCESS] if SUCCESS in info else info.get(MYOSUITE_SUCCESS)


def scalar(info: dict[str, Any], key: str) -> Any:
    """
    :param info: of one step
    :param key: a key of the info, or a term of MyoSuite's ``rwd_dict``; ``is_success`` falls back to ``solved``
    :return: the value, None if there is none
    """
    if key == SUCCESS:
        return success(info)
    if key in info:
        return info[key]
    return info.get(MYOSUITE_REWARDS, {}).get(key)


def encode_scalar(key: str, value: Any) -> tuple[float, int]:
    """
    :param key: name of the scalar, for the error
    :param value: a number, boolean, array of one element, or None
    :return: the value as float64 and the place of its type in ``SCALAR_TYPES``
    :raises TypeError: if it is none of these
    """
    if value is None:
        return 0.0, 0
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise TypeError(
            f"infos: the value of {key!r} must be one number or boolean, got {value!r}. "
            "Leave the key out, or pass infos='all' to get whole infos."
        )
    number = array.item()
    return float(number), SCALAR_TYPES.index(type(number))


def decode_scalar(value: float, scalar_type: int) -> Any:
    """
    :param value: as stored
    :param scalar_type: place of its type in ``SCALAR_TYPES``, not 0
    :return: the number or boolean
    """
    return SCALAR_TYPES[scalar_type](value)
