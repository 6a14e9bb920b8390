r"""
Diffusion policies as pure functions on tensors: noise schedules, reverse chains, time embedding, best of N.

An action is denoised from noise in T steps, t = T - 1, ..., 0, by a noise predictor
:math:`\hat\epsilon(s, x, t)` (Ho et al., arXiv 2006.11239).

======================  ============  =====================================================================
symbol                  in the code   meaning
======================  ============  =====================================================================
:math:`T`               n_steps       denoising steps
:math:`\beta_t`         beta          share of noise that step t adds
:math:`\bar\alpha_t`    abar          :math:`\prod_{k \le t} (1 - \beta_k)`, the share of the action that is left
:math:`x_t`             x             noisy action, (R, \|A\|); rows are states, or states with their particles
:math:`\hat\epsilon`    eps_hat       noise predictor at the states at hand, (x, t) -> (R, \|A\|)
======================  ============  =====================================================================
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_qflex.common.validation import check_choice, check_count, check_number

# eps_hat(x, t): t is one step for all rows; the state is bound by the caller.
NoiseAt = Callable[[th.Tensor, int], th.Tensor]

SCHEDULES = ("linear", "vp", "cosine")
EMBEDDING_DIM = 16
_VP_MIN, _VP_MAX = 0.1, 10.0
_COSINE_OFFSET = 0.008
_BETA_MAX = 0.999
_VARIANCE_MIN = 1e-20
#: Seed of the noise that deterministic actions are made of; any number would do.
_FIXED_SEED = 20


def betas(name: str, n_steps: int, scale: float = 1.0) -> np.ndarray:
    """
    beta_0 ... beta_(T-1) in float64.

    :param name: "linear" (scale times 1e-4 to 0.999), "vp" (the variance-preserving process with rates 0.1 to 10) or
        "cosine" (Nichol and Dhariwal, arXiv 2102.09672).
    :param n_steps: T, at least 1.
    :param scale: Factor of "linear", in (0, 1]; the others have none.
    :return: Shape (T,), in (0, 1).
    :raises ValueError: For other names, steps or scales.
    """
    check_choice("beta_schedule", name, SCHEDULES)
    check_count("diffusion_steps", n_steps)
    check_number("beta_scale", scale, maximum=1.0, above=True)
    if name == "linear":
        return scale * np.linspace(1e-4, _BETA_MAX, n_steps)
    t = np.arange(1, n_steps + 1)
    if name == "vp":
        return 1.0 - np.exp(-_VP_MIN / n_steps - 0.5 * (_VP_MAX - _VP_MIN) * (2 * t - 1) / n_steps**2)
    u = np.arange(n_steps + 1) / n_steps
    f = np.cos((u + _COSINE_OFFSET) / (1.0 + _COSINE_OFFSET) * np.pi / 2) ** 2
    return np.minimum(1.0 - f[1:] / f[:-1], _BETA_MAX)


class NoiseSchedule(nn.Module):
    """
    What the chains need of a schedule, computed in float64 and kept in float32. No part of a saved policy, whose
    arguments say all of it.

    The posterior of x_(t-1) given x_t and x_0 has mean c1_t x_0 + c2_t x_t and variance var_t; at t = 0 it is x_0.

    :param name: See :func:`betas`.
    :param n_steps: T, at least 1.
    :param scale: See :func:`betas`.
    """

    beta: th.Tensor
    abar: th.Tensor
    c1: th.Tensor
    c2: th.Tensor
    var: th.Tensor

    def __init__(self, name: str, n_steps: int, scale: float = 1.0):
        super().__init__()
        self.n_steps = n_steps
        beta = betas(name, n_steps, scale)
        abar = np.cumprod(1.0 - beta)
        previous = np.concatenate([[1.0], abar[:-1]])
        values = {
            "beta": beta,
            "abar": abar,
            "c1": beta * np.sqrt(previous) / (1.0 - abar),
            "c2": (1.0 - previous) * np.sqrt(1.0 - beta) / (1.0 - abar),
            "var": np.maximum(beta * (1.0 - previous) / (1.0 - abar), _VARIANCE_MIN),
            # x_0 = x_t signal_inverse - eps noise_ratio
            "signal_inverse": 1.0 / np.sqrt(abar),
            "noise_ratio": np.sqrt(1.0 / abar - 1.0),
        }
        # At t = 0, float32 makes c1 exactly 1, so that actions are in the box.
        values = {key: value.astype(np.float32) for key, value in values.items()}
        for key, value in values.items():
            self.register_buffer(key, th.as_tensor(value), persistent=False)
        #: The same as Python numbers, which cost the steps of a chain nothing.
        self.steps = [dict(zip(values, map(float, row), strict=True)) for row in zip(*values.values(), strict=True)]

    def at(self, name: str, t: th.Tensor) -> th.Tensor:
        """
        One of the coefficients, as a column.

        :param name: "beta", "abar", "c1", "c2", "var", "signal_inverse" or "noise_ratio".
        :param t: Steps, integers in 0 ... T - 1, shape (B,).
        :return: Shape (B, 1).
        """
        return getattr(self, name)[t].unsqueeze(1)


def noised(x0: th.Tensor, t: th.Tensor, noise: th.Tensor, schedule: NoiseSchedule) -> th.Tensor:
    """
    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise.

    :param x0: Actions, shape (B, |A|).
    :param t: Steps, integers, shape (B,).
    :param noise: Standard normal, shape (B, |A|).
    :param schedule: The noise schedule.
    :return: Shape (B, |A|).
    """
    abar = schedule.at("abar", t)
    return abar.sqrt() * x0 + (1.0 - abar).sqrt() * noise


def clipped_start(x: th.Tensor, eps: th.Tensor, signal_inverse: Any, noise_ratio: Any) -> th.Tensor:
    """
    The x_0 that x_t and its noise tell of, clipped to the box.

    :param x: x_t, shape (..., |A|).
    :param eps: The noise, of a shape that broadcasts with it.
    :param signal_inverse: 1 / sqrt(abar_t), a number or tensor.
    :param noise_ratio: sqrt(1 / abar_t - 1), likewise.
    """
    return (x * signal_inverse - eps * noise_ratio).clamp(-1.0, 1.0)


def posterior_chain(eps_hat: NoiseAt, noise: th.Tensor, schedule: NoiseSchedule, start_scale: float = 0.5) -> th.Tensor:
    """
    Chain with the posterior of a clipped x_0 (SDAC, DPMD, DACER): the result is in the box whatever eps_hat says.

    :param eps_hat: Noise predictor at the states at hand.
    :param noise: Standard normal, shape (T, R, |A|): that of x_T first, then those behind each step but the last.
    :param schedule: The noise schedule of T steps.
    :param start_scale: s0, standard deviation of x_T.
    :return: Actions, shape (R, |A|), in [-1, 1], differentiable where eps_hat is.
    """
    x = start_scale * noise[0]
    for k, t in enumerate(reversed(range(schedule.n_steps)), start=1):
        c = schedule.steps[t]
        x0 = clipped_start(x, eps_hat(x, t), c["signal_inverse"], c["noise_ratio"])
        x = c["c1"] * x0 + c["c2"] * x
        if t > 0:
            x = th.add(x, noise[k], alpha=c["var"] ** 0.5)
    return x


def score_chain(eps_hat: NoiseAt, noise: th.Tensor, schedule: NoiseSchedule) -> th.Tensor:
    """
    Chain along the predicted noise, clipped to the box after every step (QSM).

    :param eps_hat: Noise predictor at the states at hand.
    :param noise: Standard normal, shape (T, R, |A|), see :func:`posterior_chain`.
    :param schedule: The noise schedule of T steps.
    :return: Actions, shape (R, |A|), in [-1, 1].
    """
    x = noise[0]
    for k, t in enumerate(reversed(range(schedule.n_steps)), start=1):
        beta, abar = schedule.steps[t]["beta"], schedule.steps[t]["abar"]
        x = (x - beta / (1.0 - abar) ** 0.5 * eps_hat(x, t)) / (1.0 - beta) ** 0.5
        if t > 0:
            x = th.add(x, noise[k], alpha=beta**0.5)
        x = x.clamp(-1.0, 1.0)
    return x


def embed_time(t: th.Tensor) -> th.Tensor:
    """
    [sin(t f_j), cos(t f_j)] / 4 with f_j = 10000^(-j/8), j = 0 ... 7; t itself, not its share of T.

    :param t: Steps, shape (B,).
    :return: Shape (B, 16), of norm 1/sqrt(2).
    """
    half = EMBEDDING_DIM // 2
    frequencies = 10_000.0 ** (-th.arange(half, dtype=th.float32, device=t.device) / half)
    angles = t.to(th.float32).unsqueeze(1) * frequencies
    return th.cat([angles.sin(), angles.cos()], dim=1) / 4.0


def best_of(actions: th.Tensor, values: th.Tensor) -> th.Tensor:
    """
    The particle of each state with the largest value, the first of equal ones.

    :param actions: Shape (B, N, |A|).
    :param values: Shape (B, N).
    :return: Shape (B, |A|).
    """
    index = values.argmax(dim=1).view(-1, 1, 1).expand(-1, 1, actions.shape[2])
    return actions.gather(1, index).squeeze(1)


def repeat_rows(rows: th.Tensor, times: int) -> th.Tensor:
    """
    Rows of states, each as often as it has particles: row i becomes rows i N ... i N + N - 1.

    :param rows: Shape (B, ...).
    :param times: N.
    :return: Shape (B N, ...).
    """
    return rows if times == 1 else rows.repeat_interleave(times, dim=0)


def fixed_noise(n_steps: int, n_particles: int, action_dim: int) -> th.Tensor:
    """
    The noise of deterministic actions, the same for every state and always, from a generator of its own.

    :param n_steps: T.
    :param n_particles: N.
    :param action_dim: |A|.
    :return: Shape (T, N, |A|), on the CPU.
    """
    generator = th.Generator(device="cpu").manual_seed(_FIXED_SEED)
    return th.randn(n_steps, n_particles, action_dim, generator=generator, device="cpu", dtype=th.float32)


def policy_learning_rate(n: int, start: float, end: float, begin: int, steps: int, cosine: bool = False) -> float:
    """
    Learning rate of step n of a policy: ``start`` before ``begin``, then to ``end`` within ``steps``.

    It never rises: where ``start`` is below ``end``, it stays there.

    :param n: Policy steps taken, at least 0.
    :param start: Learning rate at first.
    :param end: Learning rate at last.
    :param begin: Steps at the first one.
    :param steps: Steps in between, at least 1.
    :param cosine: Whether it follows half a cosine in between, and no line.
    """
    share = min(max((n - begin) / steps, 0.0), 1.0)
    if cosine:
        share = 0.5 * (1.0 - math.cos(math.pi * share))
    return start + share * min(end - start, 0.0)
