"""Wrappers and callbacks as RL Zoo's hyperparameters name them."""

from collections.abc import Sequence
from typing import Any

Listed = Sequence[tuple[str, dict[str, Any]]]
REPEAT, REPEAT_UNTIL = "ActionRepeat", "RepeatUntil"


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


def wrappers_at_the_end(wrappers: Any, callbacks: Any) -> list[Any]:
    """
    :param wrappers: ``env_wrapper`` of a run, as :func:`listed` takes it, or classes
    :param callbacks: its ``callback``, or callbacks themselves
    :return: the wrappers that its last policy acts in: without a repeat that ``RepeatUntil`` ended
    """
    known = wrappers if isinstance(wrappers, list) else [wrappers] if wrappers else []
    named = [one for one in (callbacks if isinstance(callbacks, list) else [callbacks]) if isinstance(one, str | dict)]
    if not any(last_part(name) == REPEAT_UNTIL for name, _ in listed(named)):
        return known
    return [one for one in known if not (isinstance(one, str | dict) and last_part(listed(one)[0][0]) == REPEAT)]
