"""Keeps non-finite numbers out of the parameters, and reports them once per ``train()`` call."""

from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs


class _Check(NamedTuple):
    name: str
    update: int
    finite: th.Tensor  # bool, scalar or one entry per column


class NonFiniteGuard:
    """
    Masks optimizer steps whose loss or gradients are not finite.

    Flags stay on the device until :meth:`raise_if_any`, so that training does not synchronise with it at each step.
    """

    def __init__(self) -> None:
        self._checks: list[_Check] = []

    def check(self, name: str, values: PyTorchObs, update: int) -> None:
        """
        Remember whether the values are finite.

        :param name: What they are, for the message.
        :param values: Shape (B, ...) or (), or a dict of such tensors.
        :param update: Number of the gradient step.
        """
        if isinstance(values, dict):
            for key, value in values.items():
                self.check(f"{name}[{key!r}]", value, update)
        else:
            finite = th.isfinite(values)
            self._checks.append(_Check(name, update, finite.all(dim=0) if finite.dim() > 0 else finite))

    def step(self, optimizer: th.optim.Optimizer, loss: th.Tensor, name: str, update: int) -> None:
        """
        One optimizer step on the loss, left out where the loss or a gradient is not finite.

        :param optimizer: Its parameters are the only ones to which the loss is differentiated.
        :param loss: A scalar.
        :param name: What the loss is, for the message.
        :param update: Number of the gradient step.
        """
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = th.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = th.nn.utils.get_total_norm([g for g in gradients if g is not None])
        self.check(f"{name} loss", loss.detach(), update)
        self.check(f"gradient of the {name} loss", norm, update)
        _masked_step(optimizer, th.isfinite(loss.detach()) & th.isfinite(norm))

    def raise_if_any(self, num_timesteps: int) -> None:
        """
        Report what was not finite since the last call, and forget it.

        :param num_timesteps: Environment steps so far, for the message.
        :raises ValueError: Naming the first quantity that was not finite, where and at which gradient step. RL
            Zoo's tuner prunes a trial on this type.
        """
        checks, self._checks = self._checks, []
        if not checks or bool(th.stack([check.finite.all() for check in checks]).all()):
            return
        first = next(check for check in checks if not bool(check.finite.all()))
        bad = (~first.finite).flatten().nonzero().flatten().tolist()
        where = (
            f" (column{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''})"
        )
        raise ValueError(
            f"Non-finite {first.name}{where if first.finite.dim() > 0 else ''} at gradient step {first.update}, after "
            f"{num_timesteps} environment steps. No parameter was changed by it. Observations and rewards that are not "
            "finite come from the environment (wrap it in stable_baselines3.common.vec_env.VecCheckNan to find the "
            "step); losses and gradients that are not finite call for a smaller learning_rate or scaled rewards."
        )


def _masked_step(optimizer: th.optim.Optimizer, finite: th.Tensor) -> None:
    """Step where ``finite``; on a GPU without reading the flag, if the optimizer knows how to skip on the device."""
    if finite.device.type != "cpu" and getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif bool(finite):
        optimizer.step()
