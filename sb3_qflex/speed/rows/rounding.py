"""What bfloat16 does to the flow target."""

from collections.abc import Sequence
from typing import cast

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_qflex.common.fast.folding import FoldedMLP, folded_q_gradient
from sb3_qflex.qflex.guidance import ascend
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows.flow_target import batch
from sb3_qflex.speed.settings import BATCH_SIZE, GUIDANCE_STEPS, Settings

_STEP_SIZE, _UPDATES = 0.01, 25
_TEXT = f"""\
The way a(1) - a(0) of {GUIDANCE_STEPS} guidance steps with the critics in bfloat16 beside the same in float32, for a
batch of {BATCH_SIZE}: quartiles over its samples, and not of times. *relative error* is the length of the difference
over the length of the float32 way; *gain* is the mean increase of min Q, as the float32 critics see both, in bfloat16
over that in float32. Critics after {_UPDATES} updates on random transitions. This is computed also where bfloat16 is
not the faster one."""


@th.no_grad()
def measure_rounding(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("rounding", "Guidance in bfloat16", _TEXT)
    for action_dim in settings.rounding_actions:
        problem = Problem(settings.growth_obs_dim, action_dim)
        with th.enable_grad():
            model = workloads.qflex(problem, workloads.filled_buffer(problem, _UPDATES * BATCH_SIZE), guidance_steps=1)
            model.train(_UPDATES, BATCH_SIZE)
        _compare(section, workloads.label(problem), model.policy)
    return section


def _compare(section: Section, case: str, policy: QFlexPolicy) -> None:
    policy.set_training_mode(False)
    critics = [FoldedMLP(cast(nn.Sequential, net), policy.critic.features_dim) for net in policy.critic.q_networks]
    obs, start = batch(policy)
    exact, rounded = (_way(nets, obs, start) for nets in (critics, [one.rounded(th.bfloat16) for one in critics]))
    before, *after = (policy.min_q(obs, start + way) for way in (th.zeros_like(start), exact, rounded))
    gains = [float((values - before).mean()) for values in after]
    section.add(case, "cosine", F.cosine_similarity(exact, rounded, dim=1).numpy())
    section.add(case, "relative error", ((rounded - exact).norm(dim=1) / exact.norm(dim=1)).numpy())
    section.add(case, "gain", gains[1] / gains[0])


def _way(critics: Sequence[FoldedMLP], obs: th.Tensor, start: th.Tensor) -> th.Tensor:
    return ascend(folded_q_gradient(critics, obs), start, GUIDANCE_STEPS, _STEP_SIZE).target_actions - start
