"""What only a card can show: `make test-cuda`."""

from pathlib import Path

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, assert_same, observations, parameters, small_model
from torch.nn import functional as F

from sb3_qflex import QFlex, QFlexPolicy, TrainingCheckpoint
from sb3_qflex.common.fast import cuda_graph
from sb3_qflex.common.fast.products import has_fast_bfloat16
from sb3_qflex.export import export_onnx, export_torchscript, onnx_session

DEVICE = "cuda"
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not th.cuda.is_available(), reason="no CUDA device")]

NETS = {"net_arch": [64, 48, 32]}


def trained(**options) -> QFlex:
    options = {"policy_kwargs": NETS, "device": DEVICE, "guidance_steps": 5, "flow_steps": 5, **options}
    return small_model(BoxEnv(), **options).learn(60)


def batch(size: int = 200) -> tuple[th.Tensor, th.Tensor]:
    return th.rand(size, 3, device=DEVICE) * 2 - 1, th.rand(size, 2, device=DEVICE) * 2 - 1


def results(policy: QFlexPolicy, obs: th.Tensor, start: th.Tensor) -> list[th.Tensor]:
    return [*policy.ascend(obs, start), policy.flow(obs, start), policy.min_q(obs, start), policy.source(obs, True)]


@pytest.mark.parametrize("options", [{}, {"preconditioner": "rms"}, {"policy_kwargs": {**NETS, "n_critics": 3}}])
def test_folded_paths_equal_the_definitions(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = trained(**options).policy
    obs, start = batch()
    fast = results(policy, obs, start)
    monkeypatch.setattr(policy, "fold", lambda *_: None)
    for got, expected in zip(fast, results(policy, obs, start), strict=True):
        # Kinks of ReLU: a few samples may fall on the other side.
        close = th.isclose(got, expected, atol=1e-4, rtol=1e-4)
        assert close.double().mean() >= 0.99


def test_a_card_and_a_processor_agree() -> None:
    model = trained()
    obs, start = batch()
    on_card = results(model.policy, obs, start)
    on_cpu = results(model.policy.to("cpu"), obs.cpu(), start.cpu())
    for got, expected in zip(on_card, on_cpu, strict=True):
        assert th.isclose(got.cpu(), expected, atol=1e-4, rtol=1e-4).double().mean() >= 0.99


def test_guidance_in_bfloat16() -> None:
    if not has_fast_bfloat16(th.device(DEVICE)):
        pytest.skip("this card has no fast bfloat16")
    model = trained(guidance_dtype="bfloat16")
    obs, start = batch()
    exact, rounded = (
        model.policy.ascend(obs, start, dtype).target_actions - start for dtype in ("float32", "bfloat16")
    )
    assert F.cosine_similarity(exact, rounded, dim=1).mean() > 0.99
    assert not th.equal(exact, rounded)


@pytest.mark.parametrize("preconditioner", [None, "rms"])
def test_graphs_replay_the_loops(preconditioner: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(preconditioner=preconditioner)
    for _ in range(3):
        obs, start = batch()
        monkeypatch.setenv(cuda_graph.VARIABLE, "0")
        expected = results(model.policy, obs, start)
        monkeypatch.setenv(cuda_graph.VARIABLE, "1")
        for got, want in zip(results(model.policy, obs, start), expected, strict=True):
            th.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
        model.train(1, 8)
    assert model.policy._graphs._graphs


def test_no_step_of_the_loops_waits_for_the_card() -> None:
    policy, (obs, start) = trained().policy, batch()
    results(policy, obs, start)
    mode = th.cuda.get_sync_debug_mode()
    with policy.edited_by_optimizers_alone():
        th.cuda.set_sync_debug_mode("error")
        try:
            policy.ascend(obs, start)
            policy.flow(obs, start)
        finally:
            th.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize("graphs", ["0", "1"])
@pytest.mark.parametrize("options", [{}, {"bootstrap": "flow", "ent_coef": "auto"}, {"exploration": "ascent"}], ids=str)
def test_it_trains(options: dict, graphs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cuda_graph.VARIABLE, graphs)
    start = parameters(small_model(BoxEnv(), policy_kwargs=NETS, device=DEVICE, **options))
    model = trained(**options)
    changed = {name.split(".")[0] for name, value in parameters(model).items() if not th.equal(value, start[name])}
    assert {"actor", "critic"} <= changed and ("field" in changed) == (options.get("exploration") != "ascent")
    assert all(bool(th.isfinite(value).all()) for value in parameters(model).values())


def test_files_move_between_devices(tmp_path: Path) -> None:
    model = small_model(BoxEnv(), policy_kwargs=NETS, device="cpu").learn(30)
    obs = observations(model)
    for device in (DEVICE, "cpu"):
        expected, _ = model.predict(obs, deterministic=True)
        model.save(tmp_path / device)
        model = QFlex.load(tmp_path / device, BoxEnv(), device=device)
        assert model.device.type == device
        np.testing.assert_allclose(model.predict(obs, deterministic=True)[0], expected, atol=1e-4)
        before = parameters(model)
        model.learn(30, reset_num_timesteps=False)
        assert not all(th.equal(value, before[name]) for name, value in parameters(model).items())


def test_a_resumed_training_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = trained()
    options = {"policy_kwargs": NETS, "device": DEVICE, "guidance_steps": 5, "flow_steps": 5}
    small_model(BoxEnv(), **options).learn(40, TrainingCheckpoint(tmp_path))
    resumed = QFlex.resume(tmp_path, BoxEnv(), device=DEVICE)
    resumed.learn(60 - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps and resumed._n_updates == whole._n_updates
    for name, value in parameters(resumed).items():
        th.testing.assert_close(value, parameters(whole)[name], atol=1e-4, rtol=1e-4)


def test_exports_of_a_model_on_a_card_act_on_a_processor(tmp_path: Path) -> None:
    model = trained()
    obs = observations(model)
    expected, _ = model.predict(obs, deterministic=True)
    script = th.jit.load(export_torchscript(model, tmp_path / "policy.pt"), map_location="cpu")
    np.testing.assert_allclose(script(th.as_tensor(obs)).detach().numpy(), expected, atol=1e-4)
    session = onnx_session(export_onnx(model, tmp_path / "policy.onnx"))
    np.testing.assert_allclose(session.run(None, {"obs": obs})[0], expected, atol=1e-4)
    file = model.policy.export_policy(tmp_path / "policy")
    for device in ("cpu", DEVICE):
        loaded = QFlexPolicy.load(file, device=device)
        assert_same(
            {name: value.cpu() for name, value in model.policy.state_dict().items()},
            {name: value.cpu() for name, value in loaded.state_dict().items()},
        )
        np.testing.assert_allclose(loaded.predict(obs, deterministic=True)[0], expected, atol=1e-4)
