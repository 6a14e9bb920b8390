"""Latency of one action: the policy function, ``predict``, and the exported forms, on one thread."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from sb3_qflex.export import export_onnx, export_torchscript, onnx_session
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows.acting import policy_function
from sb3_qflex.speed.settings import Settings
from sb3_qflex.speed.timing import Schedule, Task, interleave

_TEXT = """\
One deterministic action for one observation, on one thread. *policy* is the policy function, tensor in and tensor out;
*predict* takes and returns numpy arrays. *ONNX* runs in the session of `sb3_qflex.export.onnx_session`, *ONNX, default*
in one with onnxruntime's own options but one thread. p50 and p99 are those of the calls of one turn."""


def _turn(function: Callable[[], object], calls: int, quantiles: list[np.ndarray]) -> None:
    """Time single calls one by one, and add their median and 99th percentile."""
    seconds = np.empty(calls)
    for i in range(calls):
        start = time.perf_counter()
        function()
        seconds[i] = time.perf_counter() - start
    quantiles.append(np.percentile(seconds, [50, 99]))


def measure_latency(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("latency", "Latency of one action", _TEXT)
    reason = _missing_onnx()
    if reason is not None:
        section.skipped.append(f"ONNX: {reason}")
    with one_thread():
        for problem in settings.sizes:
            model = workloads.qflex(problem, workloads.filled_buffer(problem), guidance_steps=1)
            for flow_steps in settings.latency_flow_steps:
                case = f"{workloads.label(problem)}, K = {flow_steps}"
                model.policy.flow_steps = flow_steps
                functions = _functions(model, problem, with_onnx=reason is None)
                _measure(section, case, functions, settings)
    return section


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside the ``with``."""
    threads = th.get_num_threads()
    th.set_num_threads(1)
    try:
        yield
    finally:
        th.set_num_threads(threads)


def _missing_onnx() -> str | None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f"{error}: pip install 'sb3-qflex[export]'"
    return None


def _functions(model: QFlex, problem: Problem, with_onnx: bool) -> dict[str, Callable[[], object]]:
    obs = np.random.default_rng(0).standard_normal((1, problem.obs_dim), dtype=np.float32)
    tensor = th.as_tensor(obs)
    functions: dict[str, Callable[[], object]] = {
        "policy": policy_function(model.policy, tensor, deterministic=True),
        "predict": partial(model.predict, obs, deterministic=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        script = th.jit.load(export_torchscript(model, Path(folder, "policy.pt")))
        functions["TorchScript"] = th.no_grad()(partial(script, tensor))
        if with_onnx:
            file = export_onnx(model, Path(folder, "policy.onnx"))
            functions["ONNX"] = partial(onnx_session(file).run, None, {"obs": obs})
            functions["ONNX, default"] = partial(_default_session(file).run, None, {"obs": obs})
    return functions


def _default_session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _measure(section: Section, case: str, functions: dict[str, Callable[[], object]], settings: Settings) -> None:
    quantiles: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    schedule = settings.schedule
    # A turn is hundreds of calls already, so three of them are enough.
    turns = Schedule(schedule.seconds, min(3, schedule.min_rounds), schedule.max_rounds, turn_seconds=0.0)
    tasks = [
        Task(name, partial(_turn, function, settings.latency_calls, quantiles[name]))
        for name, function in functions.items()
    ]
    rounds = interleave(tasks, turns)
    for name, found in quantiles.items():
        # The turns before are warm-up.
        milliseconds = 1e3 * np.array(found[-len(rounds[name]) :])
        section.add(case, f"{name}, p50", milliseconds[:, 0], "ms")
        section.add(case, f"{name}, p99", milliseconds[:, 1], "ms")
