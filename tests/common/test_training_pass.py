"""The train-mode pass as one operation against the network layer by layer."""

import copy

import pytest
import torch as th
from torch import nn

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.training_pass import TrainingPass
from sb3_qflex.common.networks import renorm_mlp


def test_gradients_by_finite_differences() -> None:
    th.manual_seed(0)
    norms = [BatchRenorm(n).double() for n in (5, 4)]
    shapes = [(5,), (5,), (4, 5), (4,), (4,), (4,), (2, 4), (2,)]
    x, *parameters = (th.randn(shape, dtype=th.double) for shape in [(7, 5), *shapes])
    for parameter in parameters:
        parameter.requires_grad_(True)

    def output(*parameters: th.Tensor) -> th.Tensor:
        for norm in norms:
            # Within the warm-up, where the constants r and d are 1 and 0: finite differences would change them.
            norm.steps.zero_()
        return TrainingPass.apply(x, norms, *parameters)

    assert th.autograd.gradcheck(output, parameters)


@pytest.mark.parametrize("net_arch", [[], [16], [16, 12]], ids=str)
@pytest.mark.parametrize("forwards", [1, 15], ids=["warm-up", "corrected"])
def test_training_equals_layer_by_layer(net_arch: list[int], forwards: int) -> None:
    th.manual_seed(1)
    mlp = renorm_mlp(6, 2, net_arch, nn.ReLU, {}).double().train()
    with th.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(0.3 * th.randn_like(parameter))
    layers = copy.deepcopy(mlp)
    for _ in range(forwards):
        x, weights = 3 * th.randn(32, 6, dtype=th.double) + 1, th.randn(32, 2, dtype=th.double)
        output, expected = mlp(x), nn.Sequential.forward(layers, x)
    th.testing.assert_close(output, expected, atol=1e-12, rtol=1e-12)
    gradients = th.autograd.grad((weights * output).sum(), list(mlp.parameters()))
    expected_gradients = th.autograd.grad((weights * expected).sum(), list(layers.parameters()))
    for got, want in zip(gradients, expected_gradients, strict=True):
        th.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    for got, want in zip(mlp.buffers(), layers.buffers(), strict=True):
        th.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


def test_an_input_with_a_gradient_gets_it() -> None:
    mlp = renorm_mlp(4, 2, [8], nn.ReLU, {}).train()
    x = th.randn(16, 4, requires_grad=True)
    mlp(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
