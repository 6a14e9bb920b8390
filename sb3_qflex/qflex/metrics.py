"""Diagnostics of the flow on one batch."""

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.common.losses import smallest
from sb3_qflex.qflex.policies import QFlexPolicy


def flow_diagnostics(policy: QFlexPolicy, obs: PyTorchObs) -> dict[str, float]:
    """
    How exploration and guidance move fresh source actions at given states (paper, Fig. 4), in eval mode.

    Draws source actions without advancing the random state of training.

    :param policy: The policy.
    :param obs: Observations of a batch, s.
    :return: ``flow_superiority`` (share of states where the exploring action, clamped, has a larger min Q than its
        source action), ``q_source``, ``q_flow`` (their mean min Q), ``flow_displacement`` (mean distance between
        them), ``guidance_displacement`` (mean ||a(1) - a(0)||), ``action_grad_norm`` (mean ||g|| at a(0)) and
        ``truncated_share`` (share of guidance steps that were truncated, over batch and N).
    """
    devices = [policy.device] if policy.device.type == "cuda" else []
    with th.no_grad(), th.random.fork_rng(devices=devices):
        source_actions = policy.source(obs)
        actions = policy.explore(obs, source_actions).clamp(-1.0, 1.0)
        features = policy.critic.encode(obs)
        q_source, q_flow = (smallest(policy.critic.q_values(features, a)) for a in (source_actions, actions))
        guidance = policy.ascend(obs, source_actions, policy.guidance_dtype)
        diameter = 2.0 * source_actions.shape[1] ** 0.5
        values = {
            "flow_superiority": (q_flow > q_source).double().mean(),
            "q_source": q_source.mean(),
            "q_flow": q_flow.mean(),
            "flow_displacement": (actions - source_actions).norm(dim=1).mean(),
            "guidance_displacement": (guidance.target_actions - source_actions).norm(dim=1).mean(),
            "action_grad_norm": guidance.first_gradient.norm(dim=1).mean(),
            "truncated_share": (policy.guidance_step_size * guidance.step_norms > diameter).double().mean(),
        }
        return dict(zip(values, th.stack([v.double() for v in values.values()]).tolist(), strict=True))
