"""The latency rows: every form is measured at every K on one thread, and does what predict does."""

from dataclasses import replace

import numpy as np
import pytest
import torch as th

from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.rows import latency
from sb3_qflex.speed.settings import quick
from sb3_qflex.speed.timing import Schedule

TINY = Problem(5, 3, (16, 16))
FORMS = ["policy", "predict", "TorchScript", "ONNX", "ONNX, default"]


@pytest.fixture
def settings():
    return replace(quick(1), sizes=(TINY,), schedule=Schedule(0.0, 2, 2), latency_flow_steps=(3, 1), latency_calls=5)


def test_all_forms_at_all_flow_steps(settings, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    found = []
    functions_of = latency._functions

    def functions(model, problem, with_onnx):
        found.append((model.policy.flow_steps, th.get_num_threads(), functions_of(model, problem, with_onnx)))
        return found[-1][2]

    monkeypatch.setattr(latency, "_functions", functions)
    threads = th.get_num_threads()
    th.set_num_threads(2)
    try:
        section = latency.measure_latency(settings)
        assert th.get_num_threads() == 2
    finally:
        th.set_num_threads(threads)
    assert [(flow_steps, used) for flow_steps, used, _ in found] == [(3, 1), (1, 1)]
    for flow_steps in (3, 1):
        for form in FORMS:
            p50, p99 = (section.find(f"5 / 3, 2 x 16, K = {flow_steps}", f"{form}, {p}") for p in ("p50", "p99"))
            assert len(p50.samples) == 2
            assert all(0.0 < low <= high for low, high in zip(p50.samples, p99.samples, strict=True))
    assert section.skipped == []


def test_without_onnx_its_columns_are_skipped_with_the_reason(settings, monkeypatch):
    monkeypatch.setattr(latency, "_missing_onnx", lambda: "no module onnx")
    section = latency.measure_latency(settings)
    assert section.skipped == ["ONNX: no module onnx"]
    assert {one.quantity.rpartition(",")[0] for one in section.measurements} == set(FORMS[:3])


def test_forms_agree():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = workloads.qflex(TINY, workloads.filled_buffer(TINY, 512), guidance_steps=1)
    functions = latency._functions(model, TINY, with_onnx=True)
    expected = functions["predict"]()[0]
    for form in ("policy", "TorchScript"):
        np.testing.assert_allclose(functions[form]().numpy(), expected, rtol=0, atol=1e-5)
    for form in ("ONNX", "ONNX, default"):
        np.testing.assert_allclose(functions[form]()[0], expected, rtol=0, atol=1e-5)
