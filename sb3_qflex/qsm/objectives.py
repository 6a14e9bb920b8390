"""The objective of QSM's noise predictor or score; that of its critics is all diffusion policies'."""

import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_qflex.common.diffusion import noised
from sb3_qflex.common.policies import train_mode
from sb3_qflex.qsm.policies import QSMPolicy
from sb3_qflex.qsm.score_matching import denoising_loss, score_loss


def actor_objective(policy: QSMPolicy, batch: ReplayBufferSamples, q_grad_scale: float) -> th.Tensor:
    """
    The noise predictor at noised replayed actions against -M_q g, or the score at replayed actions against g.

    :param policy: The policy.
    :param batch: Transitions.
    :param q_grad_scale: M_q, of "ddpm" alone.
    """
    obs, actions = batch.observations, batch.actions
    t = th.randint(policy.diffusion_steps, (len(actions),), device=actions.device)
    langevin = policy.variant == "langevin"
    x = actions if langevin else noised(actions, t, th.randn_like(actions), policy.schedule)
    gradient = policy.q_gradient(obs, x)
    with train_mode(policy.actor):
        prediction = policy.actor(obs, x, t)
    return score_loss(prediction, gradient) if langevin else denoising_loss(prediction, gradient, q_grad_scale)
