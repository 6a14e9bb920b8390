"""Functions of an action at given states, as the mathematics passes them around."""

from collections.abc import Callable

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

# v(t, a): t is one flow time for the whole batch, actions are (B, |A|); the state is bound by the caller.
Velocity = Callable[[float, th.Tensor], th.Tensor]
# Q_i(a): actions (B, |A|) -> values (n_critics, B).
QValues = Callable[[th.Tensor], th.Tensor]
# Gradient of min_i Q_i(a) by the action: (B, |A|) -> (B, |A|).
QGradient = Callable[[th.Tensor], th.Tensor]
# What is added to min_i Q_i(s, a): observations, actions (B, |A|) -> (B,), differentiable by the action.
Bonus = Callable[[PyTorchObs, th.Tensor], th.Tensor]
