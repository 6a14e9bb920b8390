"""
Exact algebra of the fast path: eval-mode networks folded to plain affine layers, and gradients by hand.

In eval mode a BatchRenorm layer is affine and folds into the following Linear. The state does not change over the N
guidance steps or the K flow steps, so its half of the first layer is computed once (``hoist``). Guidance needs the
gradient by the action alone, and each sample only that of the critic with the smallest value. Results equal those of
the readable definitions (``Critics.q_values`` with ``guidance.min_q_gradient``, ``VelocityField.velocity``) up to
rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.products import add_linear, linear
from sb3_qflex.common.type_aliases import QGradient, Velocity


class NotFoldableError(ValueError):
    """The network has a layer for which there is no folded form; the message names it."""


class Affine(NamedTuple):
    """y = x weight^T + bias; weight (out, in), bias (out,)."""

    weight: th.Tensor
    bias: th.Tensor


class FoldedMLP:
    """
    Eval-mode form of ``networks.renorm_mlp`` at its parameters of this moment, without gradients to them.

    :param net: BatchRenorm (or nothing), Linear, ReLU, ..., Linear.
    :param n_features: Columns of the input that are features of the state; the others follow them.
    :param backward: Whether gradients by the action will be taken; decides how the weights lie in memory, since a
        matrix product is faster when the rows of its right factor are contiguous, above all for small batches.
    :raises NotFoldableError: For another layer than these.
    """

    def __init__(self, net: nn.Sequential, n_features: int, backward: bool = True):
        norms, linears = blocks(net)
        self.n_features = n_features
        with th.no_grad():
            scale, shift = _eval_affine(norms[0], linears[0].weight)
            inputs = slice(n_features, None)
            self.input_weight = linears[0].weight[:, inputs] * scale[inputs]
            # The state's half keeps its own normalisation: folded, a feature whose mean is far above its standard
            # deviation would lose digits, and this half is computed once anyway.
            self.feature_norm = _slice_norm(norms[0], n_features)
            self.feature_layer = Affine(
                linears[0].weight[:, :n_features].detach().contiguous(),
                linears[0].bias + linears[0].weight[:, inputs] @ shift[inputs],
            )
            self.layers = [_fold(norm, layer, backward) for norm, layer in zip(norms[1:], linears[1:], strict=True)]

    def hoist(self, features: th.Tensor) -> th.Tensor:
        """
        The first layer's part that does not depend on the other inputs.

        :param features: Shape (B, n_features).
        :return: Shape (B, width of the first layer).
        """
        if self.feature_norm is not None:
            features = F.batch_norm(features, *self.feature_norm)
        return linear(features, *self.feature_layer)

    def buffers(self, batch_size: int) -> list[th.Tensor]:
        """
        Memory for the outputs of all layers but the first; reusing it over the N or K steps saves the allocations.

        :param batch_size: B.
        :return: One tensor (B, width) a layer.
        """
        return [weight.new_empty(batch_size, weight.shape[0]) for weight, _ in self.layers]

    def propagate(self, z: th.Tensor, buffers: Sequence[th.Tensor | None] | None = None) -> list[th.Tensor]:
        """
        Outputs of all layers from the first one's pre-activation.

        :param z: Shape (B, width of the first layer); overwritten with the activation.
        :param buffers: From :meth:`buffers`: may be overwritten.
        :return: The activations, each (B, width), and the output of the network, (B, output), at the end.
        """
        outputs = [z.relu_() if self.layers else z]
        for number, (layer, out) in enumerate(
            zip(self.layers, buffers or [None] * len(self.layers), strict=True), start=1
        ):
            outputs.append(linear(outputs[-1], *layer, relu=number < len(self.layers), out=out))
        return outputs


def blocks(net: nn.Sequential) -> tuple[list[BatchRenorm | None], list[nn.Linear]]:
    """
    The network's Linear layers and the normalisation before each of them.

    :raises NotFoldableError: For other layers than BatchRenorm (or nothing), Linear, ReLU, ..., Linear.
    """
    norms: list[BatchRenorm | None] = []
    linears: list[nn.Linear] = []
    norm: BatchRenorm | None = None
    # Which kind of layer each may follow; a network starts as if behind a ReLU, and ends behind a Linear.
    before: dict[type[nn.Module], set[type[nn.Module]]] = {
        BatchRenorm: {nn.ReLU},
        nn.Linear: {nn.ReLU, BatchRenorm},
        nn.ReLU: {nn.Linear},
    }
    previous: type[nn.Module] = nn.ReLU
    for layer in net:
        if type(layer) not in before:
            raise NotFoldableError(f"{type(layer).__name__} has no folded form (BatchRenorm, Linear and ReLU have)")
        if previous not in before[type(layer)]:
            raise NotFoldableError(f"{type(layer).__name__} directly behind {previous.__name__} has no folded form")
        previous = type(layer)
        if isinstance(layer, BatchRenorm):
            norm = layer
        elif isinstance(layer, nn.Linear):
            norms.append(norm)
            linears.append(layer)
            norm = None
    if previous is not nn.Linear:
        raise NotFoldableError(f"the last layer is {previous.__name__}, not Linear")
    if type(net[0]) is nn.ReLU:
        raise NotFoldableError("a network that starts with ReLU has no folded form")
    return norms, linears


def _eval_affine(norm: BatchRenorm | None, like: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Scale and shift of the layer in eval mode; those of the identity for None."""
    if norm is None:
        return like.new_ones(like.shape[1]), like.new_zeros(like.shape[1])
    scale = norm.scale * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _slice_norm(norm: BatchRenorm | None, n: int) -> tuple | None:
    """Arguments of ``F.batch_norm`` for the first n columns."""
    if norm is None:
        return None
    columns = (t.detach()[:n] for t in (norm.running_mean, norm.running_var, norm.scale, norm.bias))
    return *columns, False, 0.0, norm.eps


def _fold(norm: BatchRenorm | None, layer: nn.Linear, backward: bool) -> Affine:
    scale, shift = _eval_affine(norm, layer.weight)
    weight = layer.weight * scale
    return Affine(weight if backward else weight.t().contiguous().t(), th.addmv(layer.bias, layer.weight, shift))


def folded_velocity(field: FoldedMLP, features: th.Tensor) -> Velocity:
    """
    v(t, a) at given states; the fast form of ``VelocityField.velocity``.

    :param field: The folded field, whose inputs after the features are the action and t.
    :param features: Shape (B, F).
    :return: Its result is overwritten by the next call.
    """
    hoisted = field.hoist(features)
    # The layout in which a product of few rows is fastest.
    action_weight = field.input_weight[:, :-1].t().contiguous().t()
    time_weight = field.input_weight[:, -1].contiguous()
    first, others = th.empty_like(hoisted), field.buffers(len(features))

    def velocity(t: float, actions: th.Tensor) -> th.Tensor:
        z = th.add(hoisted, time_weight, alpha=t, out=first)
        return field.propagate(add_linear(z, actions, action_weight, out=z), others)[-1]

    return velocity


class MinQ(NamedTuple):
    """min_i Q_i at a batch of actions, shape (B,), and its gradient by the action, (B, |A|); constants."""

    values: th.Tensor
    gradient: th.Tensor


def folded_min_q(critics: Sequence[FoldedMLP], features: th.Tensor) -> Callable[[th.Tensor], MinQ]:
    """
    min_i Q_i(s, a) and its gradient by the action at given states; the fast form of ``guidance.min_q_gradient``.

    :param critics: The folded critics, whose input after the features is the action.
    :param features: Shape (B, F).
    """
    hoisted = [critic.hoist(features) for critic in critics]
    buffers = [[th.empty_like(h), *critic.buffers(len(features))] for critic, h in zip(critics, hoisted, strict=True)]
    # Picking the rows of each critic needs their number on the host, which would synchronise with a GPU at each
    # step; there every critic goes backward with the other rows at zero.
    backward = _backward_by_rows if features.device.type == "cpu" else _backward_by_mask

    def evaluate(actions: th.Tensor) -> MinQ:
        q_values, activations = [], []
        for critic, h, (first, *others) in zip(critics, hoisted, buffers, strict=True):
            *layers, q = critic.propagate(add_linear(h, actions, critic.input_weight, out=first), others)
            q_values.append(q.squeeze(1))
            activations.append(layers)
        values, chosen = _smallest(q_values)
        return MinQ(values, backward(critics, activations, chosen))

    return evaluate


def folded_q_gradient(critics: Sequence[FoldedMLP], features: th.Tensor) -> QGradient:
    """
    The gradient of :func:`folded_min_q` alone.

    :param critics: The folded critics.
    :param features: Shape (B, F).
    """
    min_q = folded_min_q(critics, features)
    return lambda actions: min_q(actions).gradient


def _smallest(q_values: Sequence[th.Tensor]) -> tuple[th.Tensor, th.Tensor]:
    """Minimum and index of its first critic; ``argmin`` over so few rows takes several times as long."""
    values, chosen = q_values[0], th.zeros(len(q_values[0]), dtype=th.long, device=q_values[0].device)
    for i, q in enumerate(q_values[1:], start=1):
        chosen.masked_fill_(q < values, i)
        values = th.minimum(values, q)
    return values.clone() if len(q_values) == 1 else values, chosen


class _ActionGradient(th.autograd.Function):
    """Gives constants a known gradient by the action."""

    @staticmethod
    def forward(ctx: Any, actions: th.Tensor, min_q: MinQ) -> th.Tensor:
        ctx.save_for_backward(min_q.gradient)
        return min_q.values

    @staticmethod
    def backward(ctx: Any, *outputs: th.Tensor) -> tuple[th.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return outputs[0].unsqueeze(1) * gradient, None


def differentiable_min_q(critics: Sequence[FoldedMLP], features: th.Tensor, actions: th.Tensor) -> th.Tensor:
    """
    min_i Q_i(s, a) that differentiates to the action alone; the fast form of ``guidance.smallest`` of ``Critics``.

    :param critics: The folded critics.
    :param features: Shape (B, F), constants.
    :param actions: Shape (B, |A|).
    :return: Shape (B,).
    """
    with th.no_grad():
        min_q = folded_min_q(critics, features)(actions.detach())
    return _ActionGradient.apply(actions, min_q)


def _backward(critic: FoldedMLP, activations: list[th.Tensor]) -> th.Tensor:
    """Gradient of the critic's value by the action, (rows, |A|)."""
    if not activations:
        return critic.input_weight
    delta = critic.layers[-1].weight
    for activation, (next_weight, _) in zip(reversed(activations[1:]), reversed(critic.layers[:-1]), strict=True):
        delta = linear(_through_relu(delta, activation), next_weight.t())
    return linear(_through_relu(delta, activations[0]), critic.input_weight.t())


def _through_relu(delta: th.Tensor, activation: th.Tensor) -> th.Tensor:
    return th.ops.aten.threshold_backward(delta.expand_as(activation), activation, 0)


Backward = Callable[[Sequence[FoldedMLP], list[list[th.Tensor]], th.Tensor], th.Tensor]


#: Into so many parts a batch is divided at most when it is shared out among the critics.
_SHARES = 16


def _backward_by_rows(critics: Sequence[FoldedMLP], activations: list[list[th.Tensor]], chosen: th.Tensor) -> th.Tensor:
    """Each critic goes backward for the samples where it is the smallest, (B, |A|)."""
    batch_size, part = len(chosen), -(-len(chosen) // _SHARES)
    gradient = critics[0].input_weight.new_empty(batch_size, critics[0].input_weight.shape[1])
    # The samples by their critics.
    order, start = chosen.argsort(stable=True), 0
    for i, count in enumerate(th.bincount(chosen, minlength=len(critics)).tolist()):
        if count > 0:
            # Some rows more than its own, so that there are few sizes: oneDNN makes a kernel for each, in the time of
            # several products.
            size = min(-(-count // part) * part, batch_size)
            first = min(start, batch_size - size)
            rows = order[first : first + size]
            by_rows = _backward(critics[i], [activation.index_select(0, rows) for activation in activations[i]])
            own = slice(start - first, start - first + count)
            gradient.index_copy_(0, rows[own], by_rows.expand(size, -1)[own])
        start += count
    return gradient


def _backward_by_mask(critics: Sequence[FoldedMLP], activations: list[list[th.Tensor]], chosen: th.Tensor) -> th.Tensor:
    """The same without sizes that depend on the data: every critic for all samples, then a selection, (B, |A|)."""
    gradients = [_backward(critic, activations[i]).expand(chosen.shape[0], -1) for i, critic in enumerate(critics)]
    return th.stack(gradients).gather(0, chosen.view(1, -1, 1).expand(1, -1, gradients[0].shape[1])).squeeze(0)
