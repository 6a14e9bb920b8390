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


def without_repeat(wrappers: Any) -> list[Any]:
    """
    :param wrappers: ``env_wrapper`` of a run, as :func:`listed` takes it, or classes
    :return: all but :class:`sb3_qflex.envs.ActionRepeat`
    """
    known = wrappers if isinstance(wrappers, list) else [wrappers] if wrappers else []
    return [one for one in known if not (isinstance(one, str | dict) and last_part(listed(one)[0][0]) == REPEAT)]
