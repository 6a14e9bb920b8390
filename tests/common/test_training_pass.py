"""The train-mode pass as one operation against the network layer by layer."""

import copy

import pytest
import torch as th
from torch import nn

from sb3_qflex.common import networks
from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.eval_pass import eval_pass
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


@th.no_grad()
@pytest.mark.parametrize("dtype", [th.float32, th.double], ids=str)
@pytest.mark.parametrize("net_arch", [[], [16], [300, 200]], ids=str)
def test_an_eval_pass_equals_layer_by_layer(
    net_arch: list[int], dtype: th.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    th.manual_seed(2)
    mlp = renorm_mlp(300, 4, net_arch, nn.ReLU, {}).to(dtype).train()
    for parameter in mlp.parameters():
        parameter.add_(0.05 * th.randn_like(parameter))
    for _ in range(15):
        mlp(3 * th.randn(64, 300, dtype=dtype) + 1)
    x, passes = 3 * th.randn(256, 300, dtype=dtype) + 1, []
    monkeypatch.setattr(networks, "eval_pass", lambda *given: passes.append(1) or eval_pass(*given))
    output, expected = mlp.eval()(x), nn.Sequential.forward(mlp, x)
    accuracy = 1e-9 if dtype == th.double else 1e-4
    th.testing.assert_close(output, expected, atol=accuracy, rtol=accuracy)
    assert passes


@th.no_grad()
@pytest.mark.parametrize("changed", ["a hook", "one layer in train mode", "another layer"])
def test_an_eval_pass_leaves_changed_networks_to_their_layers(changed: str) -> None:
    mlp, seen = renorm_mlp(3, 2, [8], nn.ReLU, {}), []
    mlp.eval()
    if changed == "a hook":
        mlp[1].register_forward_hook(lambda *_: seen.append(1))
    elif changed == "another layer":
        mlp[2] = nn.Tanh()
    else:
        mlp[3].train()
    layers, x = copy.deepcopy(mlp), th.randn(16, 3)
    th.testing.assert_close(mlp(x), nn.Sequential.forward(layers, x), atol=1e-6, rtol=1e-6)
    assert bool(seen) == (changed == "a hook")
    assert (mlp[3].steps == 1) == (changed == "one layer in train mode")


def test_an_input_with_a_gradient_gets_it() -> None:
    mlp = renorm_mlp(4, 2, [8], nn.ReLU, {}).train()
    x = th.randn(16, 4, requires_grad=True)
    mlp(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
