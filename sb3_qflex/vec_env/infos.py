"""Which parts of an environment's info leave the worker, and what becomes of the rest."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from sb3_qflex.vec_env.layout import SCALAR_TYPES

# Read by SB3 (rollouts, evaluation, replay buffers) and the Zoo. The first two are written by the VecEnv itself.
TRUNCATED = "TimeLimit.truncated"
TERMINAL = "terminal_observation"
EPISODE = "episode"
SUCCESS = "is_success"
# MyoSuite's word for success, and the place of its reward terms.
MYOSUITE_SUCCESS = "solved"
MYOSUITE_REWARDS = "rwd_dict"


def success(info: dict[str, Any]) -> Any:
    """``is_success``, else MyoSuite's ``solved``, else None."""
    return info[SUCCESS] if SUCCESS in info else info.get(MYOSUITE_SUCCESS)


def scalar(info: dict[str, Any], key: str) -> Any:
    """A value of the info, or a term of MyoSuite's ``rwd_dict``; None if there is none."""
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
    """The number or boolean that :func:`encode_scalar` had, which was not None."""
    return SCALAR_TYPES[scalar_type](value)


class Rest:
    """
    What stays in the workers of the infos of one step.

    :param sent: Names of the keys that are sent where an environment gives them
    :param fetch: Brings the whole infos of the step from the workers; None where only what was sent is wanted
    """

    def __init__(self, sent: tuple[str, ...], fetch: Callable[[], list[dict[str, Any]]] | None = None):
        self.sent = frozenset((TRUNCATED, TERMINAL, EPISODE, *sent))
        self.fetch = fetch
        self.was_kept = fetch is not None
        self._whole: list[dict[str, Any]] | None = None

    def forget(self) -> None:
        """The workers make their next step: what was not fetched is gone."""
        self.fetch = None

    def of(self, index: int) -> dict[str, Any] | None:
        """The whole info of an environment, None if that is gone."""
        if self._whole is None and self.fetch is not None:
            self._whole = self.fetch()
        return None if self._whole is None else self._whole[index]


class PartialInfo(dict[str, Any]):
    """
    An info of which a part has left the worker. Asking for more brings the rest, as long as the worker has it; after
    that, or where the user wanted no more, it is a ``KeyError`` and never a default.

    :param sent: what was sent
    :param rest: what was not
    :param index: of the environment
    """

    __slots__ = ("_index", "_rest")

    def __init__(self, sent: dict[str, Any], rest: Rest | None, index: int = 0):
        super().__init__(sent)
        self._rest, self._index = rest, index

    def _look(self, key: Any = None) -> None:
        """See to it that a key is here if the environment gave it; None stands for all keys."""
        rest = self._rest
        if rest is None or key in rest.sent or (key is not None and super().__contains__(key)):
            return
        whole = rest.of(self._index)
        if whole is not None:
            self._rest = None
            for name, value in whole.items():
                # What was sent may have been changed or taken out since.
                if name not in rest.sent:
                    super().setdefault(name, value)
        elif key is not None or rest.was_kept:
            raise KeyError(
                f"infos: {'the rest' if key is None else repr(key)} was not sent by the worker process"
                f"{', which has made another step since' if rest.was_kept else ''}. Give WorkerVecEnv infos='all', or "
                "the names of the scalars that are wanted, as in infos=['effort'] (vec_env_kwargs of make_vec_env)."
            )

    def __missing__(self, key: Any) -> Any:
        self._look(key)
        if not super().__contains__(key):
            raise KeyError(key)
        return self[key]

    def __contains__(self, key: Any) -> bool:
        self._look(key)
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._look(key)
        return super().get(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        self._look(key)
        return super().pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self._look(key)
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[str]:
        self._look()
        return super().__iter__()

    def keys(self) -> Any:
        self._look()
        return super().keys()

    def values(self) -> Any:
        self._look()
        return super().values()

    def items(self) -> Any:
        self._look()
        return super().items()

    def __len__(self) -> int:
        self._look()
        return super().__len__()

    def __reversed__(self) -> Iterator[str]:
        self._look()
        return super().__reversed__()

    def __delitem__(self, key: Any) -> None:
        self._look(key)
        super().__delitem__(key)

    def popitem(self) -> tuple[str, Any]:
        self._look()
        return super().popitem()

    def __repr__(self) -> str:
        # What a debugger shows must not fail where the rest is gone.
        with suppress(KeyError):
            self._look()
        return super().__repr__()

    def __or__(self, other: Any) -> Any:
        return {**self, **other}

    def __ror__(self, other: Any) -> Any:
        return {**other, **self}

    def copy(self) -> "PartialInfo":
        # SB3's VecMonitor copies the last info of each episode, and reads one key.
        return PartialInfo(dict(super().items()), self._rest, self._index)

    __copy__ = copy

    def __reduce__(self) -> Any:
        # A copy elsewhere cannot ask the workers.
        if self._rest is not None and self._rest.fetch is not None:
            self._look()
        return _unpickled, (dict(super().items()), self._rest and (tuple(self._rest.sent), self._rest.was_kept))


def _unpickled(values: dict[str, Any], rest: tuple[tuple[str, ...], bool] | None) -> dict[str, Any]:
    if rest is None:
        return values
    gone = Rest(rest[0])
    gone.was_kept = rest[1]
    return PartialInfo(values, gone)
