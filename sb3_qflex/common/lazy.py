"""Public names of a package that are loaded on first use, so that importing its light parts stays cheap."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, home: Mapping[str, str], public: Iterable[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    :param package: Its ``__name__``
    :param home: The module of each name that is loaded on first use
    :param public: Its ``__all__``
    """

    def get(name: str) -> Any:
        if name in home:
            return getattr(import_module(home[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(public)
