"""Folded networks in bfloat16, where products of it are the faster ones."""

import logging
from functools import cache

import torch as th

from sb3_qflex.common.fast.folding import FoldedMLP
from sb3_qflex.common.fast.products import has_fast_bfloat16

logger = logging.getLogger(__name__)


def in_bfloat16(networks: list[FoldedMLP] | None, device: th.device) -> list[FoldedMLP] | None:
    """
    Networks whose weights and activations are bfloat16; where that is not possible or not faster, the networks as they
    are, and a warning once says why.

    :param networks: Folded ones; None where there is no folded form.
    :param device: Where they are.
    """
    if networks is None:
        _warn("critics with other layers than BatchRenorm, Linear and ReLU, or with hooks, have no folded form")
    elif not has_fast_bfloat16(device):
        _warn(f"products of bfloat16 are not faster on this {device.type} device")
    else:
        return [network.rounded(th.bfloat16) for network in networks]
    return networks


@cache
def _warn(reason: str) -> None:
    logger.warning("Guidance stays in float32 instead of bfloat16: %s.", reason)
