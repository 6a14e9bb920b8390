r"""
Flow of actions: the Euler integrator that acts with the velocity field.

Symbols, here and in the other modules (shapes with B the batch size):

=====================  ==================  =============================================================
symbol                 name in the code    meaning
=====================  ==================  =============================================================
:math:`s, s'`          obs, next_obs       states of the transition; after an extractor: features (B, F)
:math:`a(0)`           source_actions      sample of the source policy :math:`\pi_0`, (B, |A|) in [-1, 1]
:math:`a(1)`           target_actions      :math:`a(0)` after N guidance steps, (B, |A|), not clamped
:math:`t`              t                   flow time in [0, 1]
:math:`v(t, s, a)`     velocity            velocity field, (B, |A|)
:math:`K`              flow_steps          Euler steps from t = 0 to t = 1
:math:`N, \eta`        guidance_steps,     steps and step size of the gradient ascent on Q
                       guidance_step_size
:math:`M`              preconditioner      diagonal of the positive metric of the ascent, (|A|,)
:math:`g`              gradient            gradient of :math:`\min_i Q_i(s, a)` by the action, (B, |A|)
=====================  ==================  =============================================================
"""

import torch as th

from sb3_qflex.common.type_aliases import Velocity


def integrate(velocity: Velocity, source_actions: th.Tensor, n_steps: int, until: int | None = None) -> th.Tensor:
    """
    Euler integration of da/dt = v(t, a) from t = 0 to 1 (acting; reference implementation).

    Each interval of length dt = 1 / n_steps is evaluated at its right end (t = dt, 2 dt, ..., 1), and each velocity
    component is clipped to [-1/dt, 1/dt], so that one step moves a coordinate by at most 1.

    :param velocity: v(t, a) for the states at hand.
    :param source_actions: a(0), shape (B, |A|).
    :param n_steps: K, at least 1.
    :param until: Number of steps to take of the K, all by default: the point at t = until / K, part-way.
    :return: The end of the flow, shape (B, |A|), not clamped to the box.
    """
    dt = 1.0 / n_steps
    actions = source_actions
    for k in range(1, (n_steps if until is None else until) + 1):
        actions = th.add(actions, velocity(k * dt, actions).clamp(-1.0 / dt, 1.0 / dt), alpha=dt)
    return actions
