"""Each route of matrix products gives what the plain definition gives, and which one serves can be told and kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch as th
from helpers.small_models import BoxEnv, parameters, small_model

from sb3_qflex import QFlex, TrainingCheckpoint
from sb3_qflex.common.fast import products
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import renorm_mlp

NETS = {"net_arch": [32, 24, 16]}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(products, "SMALLEST", 0.0)
    before = products.known()
    yield
    products.restore(before)


@pytest.fixture(params=products.ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    products.set_route(request.param)
    if products.route() != request.param:
        pytest.skip("this build of torch has no oneDNN products")
    return request.param


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_products_of_any_strides(route: str, relu: bool, bias: bool) -> None:
    x, weight, shift = th.randn(7, 5), th.randn(4, 5), th.randn(4) if bias else None
    expected = x.double() @ weight.double().t() + (0.0 if shift is None else shift.double())
    expected = expected.relu() if relu else expected
    for a in (x, x.t().contiguous().t()):
        for b in (weight, weight.t().contiguous().t(), th.randn(4, 9)[:, 2:7].copy_(weight)):
            got = products.linear(a, b, shift, relu=relu, out=th.empty(7, 4))
            th.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
            product = products.bound(b, shift, 7, relu=relu)
            for rows in (7, 3, 7):
                th.testing.assert_close(product(a[:rows]).double(), expected[:rows], atol=1e-5, rtol=1e-5)


def test_sums_with_a_base_that_changes(route: str) -> None:
    x, weight, base, out = th.randn(7, 5), th.randn(4, 5), th.randn(7, 4), th.empty(7, 4)
    for into in (out, base):
        add = products.bound_sum(base, weight, out=into)
        for _ in range(2):
            base.copy_(th.randn(7, 4))
            expected = base.double() + x.double() @ weight.double().t()
            th.testing.assert_close(add(x).double(), expected, atol=1e-5, rtol=1e-5)


def test_other_types_take_the_default(route: str) -> None:
    x, weight = th.randn(3, 5, dtype=th.double), th.randn(4, 5, dtype=th.double)
    th.testing.assert_close(products.linear(x, weight), x @ weight.t(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 40])
def test_folded_paths_equal_the_definitions(route: str, batch: int) -> None:
    policy = small_model(BoxEnv(), policy_kwargs=NETS).learn(30).policy
    obs, start = th.rand(batch, 3) * 2 - 1, th.rand(batch, 2) * 2 - 1
    fast = policy.flow(obs, start), policy.ascend(obs, start).target_actions, policy.min_q(obs, start)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fold", "single_row"):
            patch.setattr(policy, name, lambda *_: None)
        plain = policy.flow(obs, start), policy.ascend(obs, start).target_actions, policy.min_q(obs, start)
    for got, expected in zip(fast, plain, strict=True):
        th.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    actions = start.clone().requires_grad_(True)
    (gradient,) = th.autograd.grad(policy.min_q(obs, actions).sum(), actions)
    actions = start.clone().requires_grad_(True)
    q_values = policy.critic.q_values(policy.critic.encode(obs), actions)
    (expected,) = th.autograd.grad(smallest(q_values).sum(), actions)
    th.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


def test_training_passes_equal_automatic_differentiation(route: str) -> None:
    net = renorm_mlp(6, 3, [32, 16], th.nn.ReLU, {"warmup_steps": 0})
    copy = renorm_mlp(6, 3, [32, 16], th.nn.ReLU, {"warmup_steps": 0})
    copy.load_state_dict(net.state_dict())
    x, weights = th.randn(20, 6), th.randn(20, 3)
    gradients = []
    for one, forward in ((net, net), (copy, super(type(copy), copy).forward)):
        (forward(x) * weights).sum().backward()
        gradients.append([parameter.grad for parameter in one.parameters()])
    for got, expected in zip(*gradients, strict=True):
        th.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_routes_learn_the_same() -> None:
    options = {"policy_kwargs": NETS, "batch_size": 32, "learning_rate": 1e-4}
    trained = []
    for name in products.ROUTES:
        products.set_route(name)
        trained.append(parameters(small_model(BoxEnv(), **options).learn(40)))
    for name, value in trained[0].items():
        th.testing.assert_close(value, trained[1][name], atol=1e-4, rtol=1e-4)


def test_a_resumed_training_keeps_its_route(tmp_path: Path) -> None:
    products.set_route("onednn")
    kept = products.route()
    small_model(BoxEnv()).learn(30, TrainingCheckpoint(tmp_path))
    products.set_route("default")
    model = QFlex.resume(tmp_path, BoxEnv(), device="cpu")
    model.learn(4, reset_num_timesteps=False)
    assert products.route() == kept


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_resumed_training_keeps_its_type_of_guidance(is_fast: bool, tmp_path: Path) -> None:
    if not products._can_multiply_bfloat16():
        pytest.skip("this processor or build of torch has no oneDNN products of bfloat16")
    device = th.device("cpu")
    products.restore({"float32": "default", "bfloat16": is_fast})
    small_model(BoxEnv(), guidance_dtype="bfloat16").learn(30, TrainingCheckpoint(tmp_path))
    products.restore({"float32": "default", "bfloat16": not is_fast})
    QFlex.resume(tmp_path, BoxEnv(), device="cpu").learn(4, reset_num_timesteps=False)
    assert products.has_fast_bfloat16(device) == is_fast


def test_bfloat16_is_measured_once_and_not_taken_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device, unknown = th.device("cpu"), {"float32": None, "bfloat16": None}
    products.restore(unknown)
    before = th.get_rng_state()
    found = products.has_fast_bfloat16(device)
    assert th.equal(before, th.get_rng_state())
    monkeypatch.setattr(products, "_measure_bfloat16", lambda: pytest.fail("measured twice"))
    assert products.has_fast_bfloat16(device) == found
    monkeypatch.setattr(products, "_can_multiply_bfloat16", lambda: False)
    products.restore(unknown)
    assert not products.has_fast_bfloat16(device) and not caplog.records
    products.restore({"float32": None, "bfloat16": True})
    assert not products.has_fast_bfloat16(device) and "no oneDNN products of bfloat16" in caplog.text


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="did you mean 'onednn'"):
        products.set_route("onedn")
    products.set_route(None)
    monkeypatch.setenv(products.VARIABLE, "default")
    assert products.route() == "default"
    products.set_route(None)
    monkeypatch.setenv(products.VARIABLE, "fast")
    with pytest.raises(ValueError, match="route of products='fast' is unknown"):
        products.route()
    monkeypatch.delenv(products.VARIABLE)
    before = th.get_rng_state()
    assert products.route() in products.ROUTES
    # Measuring draws nothing that training would have drawn, and is done once.
    assert th.equal(before, th.get_rng_state())
    monkeypatch.setattr(products, "_fastest", lambda: pytest.fail("measured twice"))
    assert products.route() in products.ROUTES


def test_without_onednn_the_default_serves(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(products, "_has_onednn", lambda: False)
    products.set_route("onednn")
    assert products.route() == "default" and "no oneDNN products" in caplog.text
    products.set_route(None)
    assert products.route() == "default"


def test_small_products_take_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALLEST", 1e9)
    products.set_route("onednn")
    monkeypatch.setattr(products, "route", lambda: pytest.fail("asked for the route"))
    products.linear(th.randn(3, 5), th.randn(4, 5))
