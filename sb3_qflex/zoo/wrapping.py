"""Methods of RL Zoo's classes get something of ours around them, once."""

from collections.abc import Callable
from functools import wraps
from typing import Any

_MARK = "_sb3_qflex"


def wrap_once(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    """Put a function, which takes the method and then its arguments, around a method, unless that was done before."""
    method = getattr(owner, name)
    # Not ``__wrapped__``: somebody else may have wrapped it, too.
    if hasattr(method, _MARK):
        return

    @wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(method, *args, **kwargs)

    setattr(wrapped, _MARK, True)
    setattr(owner, name, wrapped)
