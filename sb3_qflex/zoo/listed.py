"""Wrappers as RL Zoo's hyperparameters name them."""

from collections.abc import Sequence
from typing import Any

Listed = Sequence[tuple[str, dict[str, Any]]]
REPEAT = "ActionRepeat"


def listed(given: Any) -> list[tuple[str, dict[str, Any]]]:
    """
    :param given: a name, a dict of one name, or a list of these
    :return: names and arguments
    """
    wrappers = given if isinstance(given, Sequence) and not isinstance(given, str) else [given] if given else []
    return [
        (one, {}) if isinstance(one, str) else (next(iter(one)), dict(next(iter(one.values())))) for one in wrappers
    ]


def last_part(name: str) -> str:
    """The class in a dotted path."""
    return name.rpartition(".")[2]


def wrappers_of(given: Any) -> list[Any]:
    """
    :param given: ``env_wrapper`` of a run, as :func:`listed` takes it, or classes
    :return: its wrappers, as they are
    """
    return given if isinstance(given, list) else [given] if given else []


def without_repeat(wrappers: Any) -> list[Any]:
    """
    :param wrappers: what :func:`wrappers_of` takes
    :return: all but :class:`sb3_qflex.envs.ActionRepeat`
    """
    known = wrappers_of(wrappers)
    return [one for one in known if not (isinstance(one, str | dict) and last_part(listed(one)[0][0]) == REPEAT)]
