"""How much of a policy a file holds: all networks or those that act, and matrices in 32 or in 16 bits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch as th
from torch import nn

from sb3_qflex.common.validation import UnsupportedError, check_choice

#: How matrices can be stored. Vectors (biases, statistics of BatchRenorm) are too few to be worth their digits.
STORAGES = ("float32", "float16")
#: What a file says that has a policy as it is.
WHOLE = {"matrices": "float32", "left_out": []}

Tensors = dict[str, th.Tensor]


class LeftOut(nn.Module):
    """In the place of a network that a policy file left out: whoever needs it is told so."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"This policy is from a file of what acts alone (acting_only=True), which left out the network whose "
            f"{name} is asked for: load the model, or a file of the whole policy."
        )


def left_out(policy: nn.Module) -> list[str]:
    """Names of the networks that a policy's file left out."""
    return [name for name, part in policy.named_children() if isinstance(part, LeftOut)]


def leave_out(policy: nn.Module, names: Sequence[str]) -> None:
    """Put :class:`LeftOut` in the place of networks; a ValueError if the policy has no network of a name."""
    unknown = [name for name in names if name not in dict(policy.named_children())]
    if unknown:
        raise ValueError(f"it leaves out {unknown}, which are no networks of such a policy")
    for name in names:
        setattr(policy, name, LeftOut())


def check_stored(given: Any) -> None:
    """A ValueError if what a file says of its storage is not what this module writes."""
    if not isinstance(given, dict) or given.keys() != {"matrices", "left_out"}:
        raise ValueError("'stored' has to have 'matrices' and 'left_out'")
    check_choice("matrices", given["matrices"], STORAGES)
    if not isinstance(given["left_out"], list) or not all(isinstance(name, str) for name in given["left_out"]):
        raise ValueError("'left_out' has to be a list of names")


def stored(tensors: Mapping[str, th.Tensor], storage: str) -> Tensors:
    """
    Tensors as they are written.

    :param tensors: By name.
    :param storage: One of :data:`STORAGES`.
    :raises ValueError: For another storage, and for a matrix with a number above 65 504, the largest of float16.
    """
    check_choice("storage", storage, STORAGES)
    if storage == "float32":
        return dict(tensors)
    return {name: _halved(name, value) if _is_matrix(value) else value for name, value in tensors.items()}


def _is_matrix(value: th.Tensor) -> bool:
    return value.dtype == th.float32 and value.ndim >= 2


def _halved(name: str, value: th.Tensor) -> th.Tensor:
    half = value.half()
    if not half.isfinite().all():
        raise UnsupportedError(
            f"{name} has numbers that float16 cannot hold (above {th.finfo(th.float16).max:g}, or not finite): use "
            "storage='float32'."
        )
    return half


def restored(tensors: Mapping[str, th.Tensor], storage: str) -> Tensors:
    """The tensors that act: float32 arithmetic on what :func:`stored` made of the weights."""
    if storage == "float32":
        return dict(tensors)
    return {name: value.float() if value.dtype == th.float16 else value for name, value in tensors.items()}
