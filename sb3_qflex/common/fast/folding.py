"""
Exact algebra of the fast path: eval-mode networks folded to plain affine layers, and gradients by hand.

In eval mode a BatchRenorm layer is affine and folds into the following Linear. The state does not change over the N
guidance steps or the K flow steps, so its half of the first layer is computed once (``hoist``). Guidance needs the
gradient by the action alone, and each sample only that of the critic with the smallest value. Results equal those of
the readable definitions (``Critics.q_values`` with ``action_gradient``, ``VelocityField.velocity``) up to
rounding.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.products import bound, bound_sum, linear
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

    def rounded(self, dtype: th.dtype) -> "FoldedMLP":
        """
        The same network with weights and activations of another type.

        The features' half, which is computed once, and the output layer keep theirs: their rounding would not be
        averaged over a layer, and which critic is the smallest depends on small differences.

        :param dtype: Such as bfloat16.
        """
        form = copy.copy(self)
        form.input_weight = self.input_weight.to(dtype)
        form.layers = [*(Affine(*(t.to(dtype) for t in layer)) for layer in self.layers[:-1]), *self.layers[-1:]]
        return form

    def tensors(self) -> list[th.Tensor]:
        """All that it is computed from."""
        layers = [self.feature_layer, *self.layers]
        return [self.input_weight, *(t for layer in layers for t in layer), *(self.feature_norm or ())[:_N_NORM]]

    def of(self, tensors: Sequence[th.Tensor]) -> "FoldedMLP":
        """
        The same network with other weights.

        :param tensors: In the order of :meth:`tensors`.
        """
        form, rest = copy.copy(self), iter(tensors)
        form.input_weight = next(rest)
        form.feature_layer, *form.layers = (Affine(next(rest), next(rest)) for _ in (None, *self.layers))
        if self.feature_norm is not None:
            form.feature_norm = (*rest, *self.feature_norm[_N_NORM:])
        return form

    def hoist(self, features: th.Tensor) -> th.Tensor:
        """
        The first layer's part that does not depend on the other inputs.

        :param features: Shape (B, n_features).
        :return: Shape (B, width of the first layer).
        """
        if self.feature_norm is not None:
            features = F.batch_norm(features, *self.feature_norm)
        return linear(features, *self.feature_layer)

    def chain(self, batch_size: int) -> Callable[[th.Tensor], list[th.Tensor]]:
        """
        The layers behind the first, for many batches of one size: what need not be done at each of the N or K steps
        is done once.

        :param batch_size: B.
        :return: From the first layer's pre-activation, (B, width), which it overwrites, to the activations, each
            (B, width), with the output of the network, (B, output), at the end. The next call overwrites them.
        """
        count, dtype = len(self.layers), self.input_weight.dtype
        products = [bound(*layer, batch_size, relu=number < count) for number, layer in enumerate(self.layers, start=1)]

        def outputs(z: th.Tensor) -> list[th.Tensor]:
            found = [z.relu_().to(dtype) if products else z]
            for product in products:
                found.append(product(found[-1]))
            return found

        return outputs

    def propagate(self, z: th.Tensor) -> th.Tensor:
        """
        Output of the network.

        :param z: The first layer's pre-activation, (B, width); overwritten.
        :return: Shape (B, output).
        """
        return self.chain(len(z))(z)[-1]


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


#: Tensors among the arguments of ``F.batch_norm``, which come first.
_N_NORM = 4


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
    time_weight = field.input_weight[:, -1].contiguous()
    first, outputs = th.empty_like(hoisted), field.chain(len(features))
    # The layout in which a product of few rows is fastest.
    pre_activation = bound_sum(first, field.input_weight[:, :-1].t().contiguous().t(), out=first)

    def velocity(t: float, actions: th.Tensor) -> th.Tensor:
        th.add(hoisted, time_weight, alpha=t, out=first)
        return outputs(pre_activation(actions))[-1]

    return velocity


class MinQ(NamedTuple):
    """min_i Q_i at a batch of actions, shape (B,), and its gradient by the action, (B, |A|); constants."""

    values: th.Tensor
    gradient: th.Tensor


def folded_min_q(critics: Sequence[FoldedMLP], features: th.Tensor) -> Callable[[th.Tensor], MinQ]:
    """
    min_i Q_i(s, a) and its gradient by the action at given states; the fast form of ``action_gradient``.

    Actions, values and gradient have the type of the features, whatever type the critics were rounded to.

    :param critics: The folded critics, whose input after the features is the action.
    :param features: Shape (B, F).
    """
    batch_size = len(features)
    hoisted = [critic.hoist(features) for critic in critics]
    pre_activations = [bound_sum(h, c.input_weight, th.empty_like(h)) for c, h in zip(critics, hoisted, strict=True)]
    forward = [critic.chain(batch_size) for critic in critics]
    backward = [_backward(critic, batch_size // len(critics)) for critic in critics]
    # Picking the rows of each critic needs their number on the host, which would synchronise with a GPU at each
    # step; there every critic goes backward with the other rows at zero.
    by_action = _backward_by_rows if features.device.type == "cpu" else _backward_by_mask

    def evaluate(actions: th.Tensor) -> MinQ:
        outputs = [chain(z(actions)) for chain, z in zip(forward, pre_activations, strict=True)]
        values, chosen = _smallest([q.squeeze(1) for *_, q in outputs])
        gradient = by_action(backward, [layers for *layers, _ in outputs], chosen)
        return MinQ(values, gradient.to(features.dtype))

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


# The overload itself: to choose one at each call takes as long as the operation.
_relu_backward = th.ops.aten.threshold_backward.default

#: From the activations of a critic, each (rows, width), to the gradient of its value by the action, (rows, |A|).
Backward = Callable[[list[th.Tensor]], th.Tensor]


def _backward(critic: FoldedMLP, n_rows: int) -> Backward:
    """For about so many rows."""
    if not critic.layers:
        # The same gradient for all samples.
        return lambda activations: critic.input_weight
    start = critic.layers[-1].weight.to(critic.input_weight.dtype)
    weights = [critic.input_weight, *(weight for weight, _ in critic.layers[:-1])]
    products = [bound(weight.t(), None, n_rows) for weight in reversed(weights)]

    def gradient(activations: list[th.Tensor]) -> th.Tensor:
        delta = start
        for activation, product in zip(reversed(activations), products, strict=True):
            delta = product(_relu_backward(delta.expand_as(activation), activation, 0))
        return delta

    return gradient


#: Into so many parts a batch is divided at most when it is shared out among the critics.
_SHARES = 16


def _backward_by_rows(backward: Sequence[Backward], activations: list[list[th.Tensor]], chosen: th.Tensor) -> th.Tensor:
    """Each critic goes backward for the samples where it is the smallest, (B, |A|)."""
    batch_size = len(chosen)
    # The samples by their critics.
    order = chosen.argsort(stable=True)
    gradients = []
    start = 0
    for i, count in enumerate(th.bincount(chosen, minlength=len(backward)).tolist()):
        if count > 0:
            # Some rows more than its own, so that there are few sizes: oneDNN makes a kernel for each, in the time of
            # several products.
            size = _round_up(count, batch_size)
            first = min(start, batch_size - size)
            rows = order[first : first + size]
            by_rows = backward[i]([activation.index_select(0, rows) for activation in activations[i]])
            own = start - first
            gradients.append(by_rows.expand(size, -1)[own : own + count])
        start += count
    ordered = th.cat(gradients)
    return th.empty_like(ordered).index_copy_(0, order, ordered)


def _round_up(count: int, batch_size: int) -> int:
    """To a multiple of the smallest part, within the batch."""
    part = -(-batch_size // _SHARES)
    return min(-(-count // part) * part, batch_size)


def _backward_by_mask(backward: Sequence[Backward], activations: list[list[th.Tensor]], chosen: th.Tensor) -> th.Tensor:
    """The same without sizes that depend on the data: every critic for all samples, then a selection, (B, |A|)."""
    batch_size = len(chosen)
    pairs = zip(backward, activations, strict=True)
    gradients = th.stack([gradient(layers).expand(batch_size, -1) for gradient, layers in pairs])
    return gradients.gather(0, chosen.view(1, -1, 1).expand(1, -1, gradients.shape[2])).squeeze(0)
