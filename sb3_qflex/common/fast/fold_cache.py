"""Folded networks are kept until a parameter or statistic of theirs changes."""

import logging
from operator import attrgetter
from typing import Any

import torch as th
from torch import nn

from sb3_qflex.common.fast.folding import FoldedMLP, NotFoldableError

logger = logging.getLogger(__name__)


class FoldCache:
    """The folded forms of a policy's networks, each at its parameters of the last call."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[list[int], list[FoldedMLP] | None]] = {}

    def get(
        self, name: str, nets: list[nn.Sequential], n_features: int, backward: bool = False
    ) -> list[FoldedMLP] | None:
        """
        Folded networks at their present parameters; None where there is no folded form, which is logged once.

        :param name: What the networks are.
        :param nets: The networks.
        :param n_features: Columns of their input that are features of the state.
        :param backward: Whether gradients by the action will be taken.
        """
        state = _state_key(nets)
        entry = self._entries.get(name)
        if entry is None or entry[0] != state:
            try:
                entry = (state, [FoldedMLP(net, n_features, backward) for net in nets])
            except NotFoldableError as error:
                if entry is None:
                    logger.info("QFlex uses the plain path for its %s network: %s.", name, error)
                entry = (state, None)
            self._entries[name] = entry
        return entry[1]

    def clear(self) -> None:
        """Forget all of them."""
        self._entries.clear()

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the policy has other tensors, so that these would not fit.
        return {"_entries": {}}


def mark_as_modified(optimizer: th.optim.Optimizer, *_: Any) -> None:
    """
    Hook after each step: fused optimizers edit parameters without advancing the versions that :class:`FoldCache` reads.

    :param optimizer: The optimizer.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            th.autograd.graph.increment_version(parameter)


_version = attrgetter("_version")


def _state_key(nets: list[nn.Sequential]) -> list[int]:
    """
    Changes whenever a parameter or buffer of a foldable network was replaced or edited in place (but through
    ``.data``). Looks at their flat layers itself: ``nn.Module.parameters`` takes longer than a flow step.
    """
    layers = [layer for net in nets for layer in net._modules.values()]
    dicts = [each for layer in layers for each in (layer._parameters, layer._buffers) if each]
    tensors = [t for each in dicts for t in each.values() if t is not None]
    return [*map(th.Tensor.data_ptr, tensors), *map(_version, tensors)]
