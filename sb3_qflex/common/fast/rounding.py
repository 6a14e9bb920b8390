"""Networks in bfloat16, where products of it are the faster ones."""

import logging
from functools import cache

import torch as th

from sb3_qflex.common.fast.folding import FoldedMLP
from sb3_qflex.common.fast.products import has_fast_bfloat16

logger = logging.getLogger(__name__)

#: Number types that an option can name.
DTYPES = ("float32", "bfloat16")


def in_bfloat16(networks: list[FoldedMLP] | None, device: th.device) -> list[FoldedMLP] | None:
    """
    Networks whose weights and activations are bfloat16; where that is not possible or not faster, the networks as they
    are, and a warning once says why.

    :param networks: Folded ones; None where there is no folded form.
    :param device: Where they are.
    """
    if networks is None:
        warn_float32(
            "Guidance",
            "critics with other layers than BatchRenorm, Linear and ReLU, or with hooks, have no folded form",
        )
        return None
    rounds = is_fast("Guidance", device)
    return [network.rounded(th.bfloat16) for network in networks] if rounds else networks


def is_fast(what: str, device: th.device) -> bool:
    """
    Whether products of bfloat16 are the faster ones there; a warning once where they are not.

    :param what: What would take them, for the warning.
    :param device: The device.
    """
    found = has_fast_bfloat16(device)
    if not found:
        warn_float32(what, f"products of bfloat16 are not faster on this {device.type} device")
    return found


@cache
def warn_float32(what: str, reason: str) -> None:
    """
    Say once that something is not rounded.

    :param what: What.
    :param reason: Why not.
    """
    logger.warning("%s stays in float32 instead of bfloat16: %s.", what, reason)
