"""BatchRenorm against its definition, and each of its differences to sb3-contrib's layer."""

import pytest
import torch as th
from sb3_contrib.common.torch_layers import BatchRenorm1d

from sb3_qflex.common.batch_renorm import BatchRenorm


def batches(n: int, features: int = 3, seed: int = 0) -> list[th.Tensor]:
    generator = th.Generator().manual_seed(seed)
    return [2.0 + 3.0 * th.randn(16, features, generator=generator, dtype=th.double) for _ in range(n)]


def train_on(layer: th.nn.Module, data: list[th.Tensor]) -> th.Tensor:
    layer.train()
    for batch in data:
        out = layer(batch)
    return out


def test_eval_before_training_is_the_identity_up_to_eps() -> None:
    x = batches(1)[0]
    th.testing.assert_close(BatchRenorm(3).double().eval()(x), x / (1 + 1e-5) ** 0.5)


def test_averages_are_debiased() -> None:
    layer, data = BatchRenorm(3).double(), batches(2)
    train_on(layer, data[:1])
    th.testing.assert_close(layer.running_mean, data[0].mean(0))
    th.testing.assert_close(layer.running_var, data[0].var(0, correction=0))
    train_on(layer, data[1:])
    weights = th.tensor([0.99 * 0.01, 0.01], dtype=th.double) / (1 - 0.99**2)
    th.testing.assert_close(layer.running_mean, weights[0] * data[0].mean(0) + weights[1] * data[1].mean(0))


def test_the_first_ten_forwards_use_batch_statistics_and_the_eleventh_renormalises() -> None:
    layer, data = BatchRenorm(3).double(), batches(11)
    for n, x in enumerate(data):
        mean, var = layer.running_mean.clone(), layer.running_var.clone()
        out = layer.train()(x)
        x_hat = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
        if n < 10:
            th.testing.assert_close(out, x_hat)
        else:
            std = (var + 1e-5).sqrt()  # the averages before this forward
            r, d = (x.var(0, correction=0) + 1e-5).sqrt() / std, (x.mean(0) - mean) / std
            th.testing.assert_close(out, x_hat * r + d)
            assert not th.allclose(out, x_hat, atol=1e-3)


@pytest.mark.parametrize("factor, shift", [(100.0, 0.0), (0.001, 0.0), (1.0, 1e3), (1.0, -1e3)])
def test_corrections_are_clipped(factor: float, shift: float) -> None:
    layer = BatchRenorm(3).double()
    train_on(layer, batches(10))
    x = batches(1, seed=1)[0] * factor + shift
    x_hat = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    r = ((x.var(0, correction=0) + 1e-5).sqrt() / (var + 1e-5).sqrt()).clamp(1 / 3, 3)
    d = ((x.mean(0) - mean) / (var + 1e-5).sqrt()).clamp(-5, 5)
    assert ((r == 3) | (r == 1 / 3) | (d.abs() == 5)).any()
    th.testing.assert_close(layer.train()(x), x_hat * r + d)


def test_corrections_are_constants_of_the_gradient() -> None:
    """The gradient is that of x_hat times the constant r: it sums to zero over the batch in each column."""
    layer = BatchRenorm(3).double()
    train_on(layer, batches(10))
    x = batches(1, seed=2)[0].requires_grad_(True)
    (layer.train()(x) * th.linspace(-1, 1, 16, dtype=th.double)[:, None]).sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 1e-3
    th.testing.assert_close(x.grad.sum(0), th.zeros(3, dtype=th.double), atol=1e-10, rtol=0)


def test_eval_mode_uses_the_averages_and_changes_nothing() -> None:
    layer = BatchRenorm(3).double()
    train_on(layer, batches(12))
    with th.no_grad():
        layer.scale.copy_(th.tensor([1.0, 2.0, 3.0]))
        layer.bias.copy_(th.tensor([0.0, -1.0, 1.0]))
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    x = batches(1, seed=3)[0]
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    th.testing.assert_close(layer.eval()(x), layer.scale * (x - mean) / (var + 1e-5).sqrt() + layer.bias)
    assert all(th.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_statistics_that_are_not_finite_leave_the_averages_alone() -> None:
    layer = BatchRenorm(3).double()
    train_on(layer, batches(3))
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    for bad in (float("nan"), float("inf"), 1e300):
        x = batches(1)[0]
        x[3, 1] = bad
        layer(x)
    assert all(th.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_state_survives_a_round_trip() -> None:
    layer, other = BatchRenorm(3), BatchRenorm(3)
    train_on(layer.double(), batches(12))
    other.double().load_state_dict(layer.state_dict())
    x = batches(1, seed=4)[0]
    assert th.equal(layer.eval()(x), other.eval()(x))
    assert th.equal(layer.train()(x), other.train()(x))  # the counter came along: both renormalise


# Differences to sb3-contrib's layer.


def test_contrib_is_still_warming_up_where_ours_renormalises() -> None:
    ours, theirs, data = BatchRenorm(3).double(), BatchRenorm1d(3).double(), batches(50)
    for layer in (ours, theirs):
        train_on(layer, data[:-1])
    x = data[-1] * 2
    x_hat = (x - x.mean(0)) / (x.var(0) + 1e-3).sqrt()
    th.testing.assert_close(theirs(x), x_hat)
    assert not th.allclose(ours(x), x_hat, atol=0.1)
    assert (theirs.warmup_steps, ours.warmup_steps) == (100_000, 10)


def test_contrib_averages_are_not_debiased() -> None:
    ours, theirs, data = BatchRenorm(3).double(), BatchRenorm1d(3).double(), batches(1)
    for layer in (ours, theirs):
        train_on(layer, data)
    th.testing.assert_close(theirs.ra_mean, 0.01 * data[0].mean(0))
    th.testing.assert_close(ours.running_mean, data[0].mean(0))


def test_contrib_uses_the_unbiased_variance_and_a_larger_eps() -> None:
    x = batches(1)[0][:4] * 0.01
    ours, theirs = BatchRenorm(3).double().train()(x), BatchRenorm1d(3).double().train()(x)
    centred = x - x.mean(0)
    th.testing.assert_close(ours, centred / (x.var(0, correction=0) + 1e-5).sqrt())
    th.testing.assert_close(theirs, centred / (x.var(0, correction=1) + 1e-3).sqrt())


def test_a_column_without_variance_has_a_finite_gradient() -> None:
    x = batches(1)[0]
    x[:, 1] = 5.0
    gradients = []
    for layer in (BatchRenorm(3, warmup_steps=0).double(), BatchRenorm1d(3, warmup_steps=-1).double()):
        leaf = x.clone().requires_grad_(True)
        layer.train()(layer(leaf)).square().sum().backward()
        gradients.append(leaf.grad)
    assert th.isfinite(gradients[0]).all()
    assert th.isnan(gradients[1][:, 1]).any()


def test_a_device_that_cannot_be_read_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [*batches(14), th.full((16, 3), float("nan"), dtype=th.double), *batches(2, seed=1)]
    host, device = BatchRenorm(3).double(), BatchRenorm(3).double()
    expected = [train_on(host, [x]) for x in data]
    monkeypatch.setattr(BatchRenorm, "_counts_on_host", lambda self: False)
    for x, y in zip(data, expected, strict=True):
        th.testing.assert_close(train_on(device, [x]), y, equal_nan=True)
    th.testing.assert_close(dict(device.named_buffers()), dict(host.named_buffers()))
    assert int(host.steps) == 16
