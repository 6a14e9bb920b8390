"""Names of keyword arguments: which there are, and what was meant by one that is unknown."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Never

from sb3_qflex.common.validation import near_match


def keywords_of(cls: type) -> list[str]:
    """
    Keyword arguments of a constructor, with those that it passes on to the next class by ``**kwargs``.

    :param cls: The class
    """
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
        names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        rest = [p for p in parameters if p.kind == p.VAR_KEYWORD]
        if not rest or rest[0].annotation in (Never, "Never"):
            break
    return list(dict.fromkeys(names))


def check_keywords(what: str, given: Iterable[str], cls: type, but: Iterable[str] = ()) -> None:
    """
    Check keyword names against a constructor, with a near match.

    :param what: What takes the keywords, for the message.
    :param given: Names of the keywords.
    :param cls: Whose constructor counts.
    :param but: Arguments of it that are not allowed here.
    :raises TypeError: For an unknown name, as Python itself does.
    """
    known = [name for name in keywords_of(cls) if name not in set(but)]
    for name in given:
        if name not in known:
            raise TypeError(f"{what} has no option {name!r}{near_match(name, known)} Known are {', '.join(known)}.")


def without_sde(what: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Keywords without those that say that gSDE is not used: SB3 puts ``use_sde=False`` into a dict that others share.

    :param what: What takes the keywords, for the message.
    :param given: The keywords.
    :raises TypeError: Where gSDE is asked for.
    """
    kept = {name: value for name, value in given.items() if name != "use_sde" or value}
    for name in kept:
        if "sde" in name:
            raise TypeError(
                f"{what} has no option {name!r}: gSDE is not supported. Leave out use_sde, sde_sample_freq and "
                "use_sde_at_warmup."
            )
    return kept
