"""One whole update against CrossQ's, SAC's, and our own without guidance and field."""

from functools import partial
from typing import Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_qflex.common.fast.products import has_fast_bfloat16
from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import crossq_update_flop, update_flop
from sb3_qflex.speed.gemm import gemm_tasks, share
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.settings import BATCH_SIZE, GUIDANCE_STEPS, SMALL_SIZE, Settings
from sb3_qflex.speed.timing import Task, ratio

_TEXT = f"""\
`model.train(1, {BATCH_SIZE})` with N = {GUIDANCE_STEPS}, sampling the replay buffer included. *source only* is QFlex
without guidance and velocity field (`exploration="source"`), our equivalent of CrossQ. CrossQ (sb3-contrib,
`policy_delay=1`) and SAC (SB3) have the same networks and otherwise their defaults. *over FLOP ratio* is QFlex / source
only, divided by the ratio of their useful work. *bfloat16 guidance* is QFlex with `guidance_dtype="bfloat16"`.
*calls* are the operations that torch is asked for in one update, backward passes included: each takes a microsecond or
more before it computes anything, which small networks take as long for."""

_ROUNDED = "bfloat16 guidance"


class _CallCounter(TorchDispatchMode):
    """Counts the operations inside of its ``with``."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def measure_update(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("update", "One update", _TEXT)
    for problem in (*settings.sizes, SMALL_SIZE):
        buffer = workloads.filled_buffer(problem, device=settings.device)
        models = {
            "QFlex": workloads.qflex(problem, buffer, guidance_steps=GUIDANCE_STEPS),
            "source only": workloads.source_only(problem, buffer),
            "CrossQ": workloads.crossq(problem, buffer),
            "SAC": workloads.sac(problem, buffer),
        }
        if has_fast_bfloat16(th.device(settings.device)):
            models[_ROUNDED] = workloads.qflex(
                problem, buffer, guidance_steps=GUIDANCE_STEPS, guidance_dtype="bfloat16"
            )
        updates = [Task(name, partial(model.train, 1, BATCH_SIZE)) for name, model in models.items()]
        seconds = settings.time([*gemm_tasks(device=settings.device), *updates])
        case = workloads.label(problem)
        for name in models:
            section.add(case, name, 1e3 * seconds[name], "ms")
        for name in ("QFlex", "source only", "CrossQ", "SAC"):
            section.add(case, f"{name}, calls", _calls(models[name]))
        for name in ("CrossQ", "SAC", "source only"):
            section.add(case, f"QFlex / {name}", ratio(seconds, "QFlex", name))
        if _ROUNDED in models:
            section.add(case, f"{_ROUNDED} / QFlex", ratio(seconds, _ROUNDED, "QFlex"))
        flop = update_flop(problem, BATCH_SIZE, GUIDANCE_STEPS)
        flop_ratio = flop / crossq_update_flop(problem, BATCH_SIZE)
        section.add(case, "FLOP ratio", flop_ratio)
        section.add(case, "over FLOP ratio", ratio(seconds, "QFlex", "source only") / flop_ratio)
        section.add(case, "share of peak", share(flop, seconds, "QFlex"))
    return section


def _calls(model: OffPolicyAlgorithm) -> int:
    """Operations of one update."""
    with _CallCounter() as counter:
        model.train(1, BATCH_SIZE)
    return counter.count
