"""Gradient of Q by the action."""

from collections.abc import Callable

import torch as th

from sb3_qflex.common.losses import smallest
from sb3_qflex.common.type_aliases import QValues


def for_gradients(tensor: th.Tensor) -> th.Tensor:
    """
    The tensor, or its copy where it is one of inference mode: outside of that mode autograd can record with it.

    :param tensor: Any.
    """
    return tensor.clone() if tensor.is_inference() else tensor


def action_gradient(
    q_values: QValues, actions: th.Tensor, over_critics: Callable[[th.Tensor], th.Tensor] = smallest
) -> th.Tensor:
    """
    Gradient of min_i Q_i(s, a) by the action, by automatic differentiation: the readable definition.

    No gradient reaches the critics' parameters.

    :param q_values: The critics at the states at hand: actions (B, |A|) to (n_critics, B).
    :param actions: Shape (B, |A|).
    :param over_critics: What of the critics is meant, (n_critics, B) to (B,): by default their minimum.
    :return: g, shape (B, |A|), a constant.
    """
    # A caller's inference mode would record nothing, and lend its tensors to no gradient.
    with th.inference_mode(False), th.enable_grad():
        actions = for_gradients(actions).detach().requires_grad_(True)
        # The sum has each sample's own gradient, since eval-mode critics treat samples independently.
        (gradient,) = th.autograd.grad(over_critics(q_values(actions)).sum(), actions)
    return gradient
