"""Flow target: the folded path against the plain autograd loop, and in bfloat16."""

from collections.abc import Callable
from functools import partial

import torch as th

from sb3_qflex.common.fast.products import has_fast_bfloat16
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem, flow_target_flop
from sb3_qflex.speed.gemm import gemm_tasks, peak, share
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows.acting import one_after_another, product_chain
from sb3_qflex.speed.settings import BATCH_SIZE, GUIDANCE_STEPS, Settings
from sb3_qflex.speed.timing import Task, ratio

_TEXT = f"""\
{GUIDANCE_STEPS} guidance steps on a batch of {BATCH_SIZE}: `policy.ascend`, folding its critics anew as each update
does, against the same with automatic differentiation through the readable definitions. The peak is the fastest matrix
product (edges 1024 and 256, by torch's default, oneDNN or NumPy) that takes turns with them. *products alone* are the
matrix products of the N steps with nothing between them, each critic going backward for its share of the samples: what
a faster form of everything else could gain. *bfloat16* is `guidance_dtype="bfloat16"`, its share is that of the peak
of bfloat16."""


def measure_flow_target(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("flow", "Flow target", _TEXT)
    dtypes = ["float32"]
    if has_fast_bfloat16(th.device(settings.device)):
        dtypes.append("bfloat16")
    else:
        section.skipped.append("bfloat16, whose products are not faster here")
    for problem in settings.sizes:
        _measure_size(section, problem, settings, dtypes)
    return section


def _measure_size(section: Section, problem: Problem, settings: Settings, dtypes: list[str]) -> None:
    buffer = workloads.filled_buffer(problem, device=settings.device)
    policy = workloads.qflex(problem, buffer, guidance_steps=GUIDANCE_STEPS).policy
    forms = {"float32": "folded", "bfloat16": "bfloat16"}
    tasks = [task for dtype in dtypes for task in gemm_tasks(dtype, settings.device)]
    tasks += [folded_task(policy, forms[dtype], dtype) for dtype in dtypes]
    tasks += [_plain_task(policy, "plain"), Task("products alone", bare_products(problem, settings.device))]
    seconds = settings.time(tasks)
    case = workloads.label(problem)
    section.add(case, "folded", 1e3 * seconds["folded"], "ms")
    section.add(case, "plain", 1e3 * seconds["plain"], "ms")
    section.add(case, "plain / folded", ratio(seconds, "plain", "folded"))
    flop = flow_target_flop(problem, BATCH_SIZE, GUIDANCE_STEPS)
    section.add(case, "useful work", flop / 1e9, "GFLOP")
    section.add(case, "share of peak", share(flop, seconds, "folded"))
    section.add(case, "share of peak, products alone", share(flop, seconds, "products alone"))
    section.add(case, "peak", peak(seconds) / 1e9, "GFLOP/s")
    if "bfloat16" in dtypes:
        section.add(case, "bfloat16", 1e3 * seconds["bfloat16"], "ms")
        section.add(case, "folded / bfloat16", ratio(seconds, "folded", "bfloat16"))
        section.add(case, "share of peak, bfloat16", share(flop, seconds, "bfloat16", "bfloat16"))
        section.add(case, "peak, bfloat16", peak(seconds, "bfloat16") / 1e9, "GFLOP/s")


def bare_products(problem: Problem, device: str = "cpu") -> Callable[[], object]:
    """Makes the products of N guidance steps: critics forward, then each backward for an equal share of the samples."""
    action_dim, hidden, n_critics = problem.action_dim, problem.hidden, problem.n_critics
    forward = product_chain((action_dim, *hidden, 1), BATCH_SIZE, device)
    backward = product_chain((*reversed(hidden), action_dim), BATCH_SIZE // n_critics, device)
    return one_after_another(GUIDANCE_STEPS * [*n_critics * forward, *n_critics * backward])


def folded_task(policy: QFlexPolicy, name: str, dtype: str = "float32") -> Task:
    """The flow target on a batch, its critics folded anew in each call."""
    obs, source_actions = batch(policy)
    return Task(name, lambda: policy.ascend(obs, source_actions, dtype), lambda: workloads.touch(policy.critic))


def _plain_task(policy: QFlexPolicy, name: str) -> Task:
    return Task(name, workloads.plain_path(policy)(partial(policy.ascend, *batch(policy))))


def batch(policy: QFlexPolicy) -> tuple[th.Tensor, th.Tensor]:
    """Observations and source actions of one batch, shapes (B, observation) and (B, |A|)."""
    assert policy.observation_space.shape is not None
    obs = th.randn(BATCH_SIZE, *policy.observation_space.shape, device=policy.device)
    return obs, policy.source(obs)
