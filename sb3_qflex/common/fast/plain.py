"""May a network be computed from its weights, or does something else have a say in what it gives?"""

from collections.abc import Iterable

import torch as th
from torch import nn
from torch.nn.modules import module as torch_module

from sb3_qflex.common.batch_renorm import BatchRenorm

#: Parameters of each kind of layer: a parametrisation, pruning or a norm of the weights puts others in their place.
_PARAMETERS = {nn.Linear: {"weight", "bias"}, BatchRenorm: {"scale", "bias"}, nn.ReLU: set()}
#: Containers that in eval mode call one layer after the other, and nothing else.
CHAINS: set[type[nn.Module]] = {nn.Sequential}
_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


def is_watched() -> bool:
    """
    Whether the operations themselves matter: while torch traces, exports, compiles, or maps over tensors
    (``torch.func``), or for global hooks.
    """
    return (
        th.jit.is_tracing()
        or th.compiler.is_compiling()
        or th._C._functorch.peek_interpreter_stack() is not None
        or any(getattr(torch_module, name, None) for name in _GLOBAL_HOOKS)
    )


def obstacle(layers: Iterable[nn.Module], containers: Iterable[nn.Module] = ()) -> str:
    """
    Why layers cannot be computed from their weights alone.

    :param layers: Of a network.
    :param containers: Modules around them, which may have hooks of their own.
    :return: A hook, a changed ``forward``, or a layer that is no plain BatchRenorm, Linear or ReLU; "" without one.
    """
    for layer in layers:
        expected = _PARAMETERS.get(type(layer))
        if expected is None:
            return f"{type(layer).__name__} has no folded form (BatchRenorm, Linear and ReLU have)"
        own = layer._parameters
        if own.keys() != expected or own.get("bias", own) is None:
            return f"{layer} does not have its own parameters"
        if _is_altered(layer):
            return f"{layer} has hooks"
    for container in containers:
        if _is_altered(container):
            return f"{type(container).__name__} has hooks"
    return ""


def _is_altered(module: nn.Module) -> bool:
    attributes = vars(module)
    # Written out, since it is asked for each layer of every action.
    return bool(
        attributes["_forward_hooks"]
        or attributes["_forward_pre_hooks"]
        or attributes["_backward_hooks"]
        or attributes["_backward_pre_hooks"]
        or "forward" in attributes
    )
