"""
Folded networks are kept while their weights are the same.

Nothing tells of every edit of a tensor: ``.data``, NumPy views, shared memory and fused optimizers leave its version as
it is. So a kept form is used again only where nobody but an optimizer can have edited the weights (inside of
``train``), or after a look at all values.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_qflex.common.fast.folding import FoldedMLP, NotFoldableError
from sb3_qflex.common.fast.plain import CHAINS, obstacle
from sb3_qflex.common.fast.single_observation import SingleRow

logger = logging.getLogger(__name__)


class _Entry:
    """
    Networks in their folded form, at the weights of one moment.

    :param state: See :func:`_state_key`.
    :param folded: None where there is no folded form.
    :param tensors: The weights, to be compared later; None where nobody has asked a second time yet.
    :param scope: Number of the ``with`` in which it was made; 0 outside.
    """

    def __init__(
        self, state: list[Any], folded: list[FoldedMLP] | None, tensors: list[th.Tensor] | None, scope: int
    ) -> None:
        self.state, self.folded, self.scope = state, folded, scope
        self._pairs: list[tuple[Any, Any]] | None = None
        if tensors is not None:
            # Views keep the memory from being given to other tensors of the same address.
            views = [t.detach().numpy() if t.device.type == "cpu" else t.detach() for t in tensors]
            self._pairs = [(view, np.copy(view) if isinstance(view, np.ndarray) else view.clone()) for view in views]

    def is_current(self) -> bool:
        """Whether all weights are known to be what they were."""
        if self._pairs is None:
            return False
        return all(
            np.array_equal(now, then) if isinstance(now, np.ndarray) else th.equal(now, then)
            for now, then in self._pairs
        )


class FoldCache:
    """The folded forms of a policy's networks."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._rows: dict[str, tuple[list[Any], SingleRow | None]] = {}
        self._scopes = 0
        self._scope = 0
        self._logged: set[str] = set()

    @contextmanager
    def edited_by_optimizers_alone(self) -> Iterator[None]:
        """
        Inside the ``with`` nobody but optimizers that :func:`mark_as_modified` follows may edit the weights, so that
        their versions say whether anything has changed.
        """
        outer = self._scope
        self._scopes += 1
        self._scope = self._scopes
        try:
            yield
        finally:
            self._scope = outer

    def get(
        self, name: str, network: nn.Module, nets: list[Any], n_features: int, backward: bool = False
    ) -> list[FoldedMLP] | None:
        """
        Folded networks at their present parameters; None where there is no folded form, which is logged once.

        :param name: What the networks are.
        :param network: The module that has them.
        :param nets: The networks.
        :param n_features: Columns of their input that are features of the state.
        :param backward: Whether gradients by the action will be taken.
        """
        layers = [layer for net in nets for layer in net._modules.values()]
        reason = _obstacle(layers, network, nets)
        if reason:
            self._log(name, reason)
            return None
        tensors = _tensors(layers)
        state = _state_key(layers, tensors)
        entry = self._entries.get(name)
        same = entry is not None and entry.state == state
        if entry is not None and same and ((self._scope and entry.scope == self._scope) or entry.is_current()):
            return entry.folded
        try:
            folded = [FoldedMLP(net, n_features, backward) for net in nets]
        except NotFoldableError as error:
            self._log(name, str(error))
            return None
        # Values are copied when a form is asked for again: between two updates it is often used once.
        self._entries[name] = _Entry(state, folded, tensors if same and not self._scope else None, self._scope)
        return folded

    def row(self, name: str, network: nn.Module, net: Any) -> SingleRow | None:
        """
        A network for one row of inputs; None where there is none.

        :param name: What it is.
        :param network: The module that has it.
        :param net: The network.
        """
        layers = list(net._modules.values())
        if _obstacle(layers, network, [net]):
            return None
        tensors = _tensors(layers)
        # A transposed weight has the address of the other one.
        if not all(map(th.Tensor.is_contiguous, tensors)):
            return None
        key = [*_kinds(layers), *map(th.Tensor.data_ptr, tensors)]
        known = self._rows.get(name)
        if known is None or known[0] != key:
            row = None
            with suppress(NotFoldableError):
                row = SingleRow(net)
            # The views keep the memory from being given to other tensors of the same address.
            known = self._rows[name] = (key, row)
        return known[1]

    def _log(self, name: str, reason: str) -> None:
        if name not in self._logged:
            logger.info("The plain path is used for the %s network: %s.", name, reason)
            self._logged.add(name)

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the policy has other tensors, so that these would not fit.
        return vars(FoldCache())


def mark_as_modified(optimizer: th.optim.Optimizer) -> None:
    """
    Tell of a step: fused optimizers edit parameters without advancing the versions that :class:`FoldCache` reads.

    :param optimizer: The optimizer.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.is_inference():
                th.autograd.graph.increment_version(parameter)


def _obstacle(layers: list[Any], network: nn.Module, nets: list[Any]) -> str:
    for net in nets:
        if type(net) not in CHAINS:
            return f"{type(net).__name__} may do more than call its layers"
    return obstacle(layers, (network, *nets))


def _kinds(layers: list[Any]) -> list[Any]:
    """What layers are beside their tensors: their classes, and what BatchRenorm adds to a variance."""
    return [vars(layer).get("eps", type(layer)) for layer in layers]


def _tensors(layers: list[Any]) -> list[th.Tensor]:
    """Parameters and buffers of flat layers: ``nn.Module.parameters`` takes longer than a flow step."""
    dicts = [each for layer in layers for each in (layer._parameters, layer._buffers) if each]
    return [tensor for each in dicts for tensor in each.values()]


def _state_key(layers: list[Any], tensors: list[th.Tensor]) -> list[Any]:
    """Changes whenever one of them was replaced or transposed, or edited in place as torch follows it."""
    # Tensors made in inference mode have no version; their values alone count.
    versions = [0 if t.is_inference() else t._version for t in tensors]
    return [*_kinds(layers), *map(th.Tensor.data_ptr, tensors), *map(th.Tensor.stride, tensors), *versions]
