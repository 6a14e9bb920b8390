"""Keeps non-finite numbers out of the parameters, and reports them and a diverged Q once per ``train()`` call."""

from collections.abc import Sequence
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.common.fast.fold_cache import mark_as_modified


class _Check(NamedTuple):
    name: str
    update: int
    values: th.Tensor  # scalar or one entry per column, which have to be finite
    limit: th.Tensor | None = None  # of Q: what its value has to be within instead

    @property
    def good(self) -> th.Tensor:
        return th.isfinite(self.values) if self.limit is None else self.values <= self.limit


class LearnerGuard:
    """
    Masks optimizer steps whose loss or gradients are not finite.

    Values stay on the device until :meth:`raise_if_any` looks at all of them at once, so that training does not
    synchronise with it at each step.
    """

    def __init__(self) -> None:
        self._checks: list[_Check] = []

    def check(self, name: str, values: PyTorchObs, update: int) -> None:
        """
        Remember whether the values are finite (and small enough for their sum over the batch to be).

        :param name: What they are, for the message.
        :param values: Shape (B, ...) or (), or a dict of such tensors.
        :param update: Number of the gradient step.
        """
        if isinstance(values, dict):
            for key, value in values.items():
                self.check(f"{name}[{key!r}]", value, update)
        elif values.is_floating_point():
            # Sums: one pass over the batch; th.isfinite(values).all(dim=0) takes ten times as long on a CPU.
            self._checks.append(_Check(name, update, values.sum(dim=0) if values.dim() > 0 else values))

    def step(
        self,
        optimizer: th.optim.Optimizer,
        loss: th.Tensor,
        name: str,
        update: int,
        max_norm: float | None = None,
        n_steps: int = 1,
    ) -> None:
        """
        A step of the optimizer on the loss, left out where the loss or a gradient is not finite.

        :param optimizer: Its parameters are the only ones to which the loss is differentiated, but for those that
            the user has frozen.
        :param loss: A scalar.
        :param name: What the loss is, for the message.
        :param update: Number of the gradient step.
        :param max_norm: Norm that the gradient is clipped to; None for none.
        :param n_steps: Steps on that one gradient.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for frozen in (p for p in parameters if not p.requires_grad):
            frozen.grad = None
        parameters = [p for p in parameters if p.requires_grad]
        if not parameters:
            self.check(f"{name} loss", loss.detach(), update)
            return
        gradients = th.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = th.nn.utils.get_total_norm([g for g in gradients if g is not None])
        if max_norm is not None:
            th.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        loss = loss.detach()
        self.check(f"{name} loss", loss, update)
        self.check(f"gradient of the {name} loss", norm, update)
        finite = th.isfinite(loss + norm)
        for _ in range(n_steps):
            _masked_step(optimizer, finite)

    def check_bound(self, value: th.Tensor, limit: th.Tensor, update: int) -> None:
        """
        Remember whether Q is within a limit.

        :param value: Mean of min Q over a batch (its sign does not matter), a scalar.
        :param limit: Largest magnitude, a scalar; see :class:`QBound`.
        :param update: Number of the gradient step.
        """
        self._checks.append(_Check("Q", update, value.detach().abs(), limit))

    def raise_if_any(self, num_timesteps: int) -> None:
        """
        Report what was not finite since the last call, and forget it.

        :param num_timesteps: Environment steps so far, for the message.
        :raises ValueError: Naming the first quantity that was not finite or too large, where and at which gradient
            step. RL Zoo's tuner prunes a trial on this type.
        """
        checks, self._checks = self._checks, []
        if _all_good(checks):
            return
        first = next(check for check in checks if not bool(check.good.all()))
        if first.limit is not None:
            raise ValueError(_divergence(first.update, num_timesteps, float(first.values), float(first.limit)))
        bad = (~first.good).flatten().nonzero().flatten().tolist()
        where = (
            f" (column{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''})"
        )
        raise ValueError(
            f"Non-finite {first.name}{where if first.good.dim() > 0 else ''} at gradient step {first.update}, after "
            f"{num_timesteps} environment steps. No parameter was changed by it. Observations and rewards that are not "
            'finite come from the environment (bad_states="raise" names the step that gives them) or from a loaded '
            "replay buffer; losses and gradients that are not finite call for a smaller learning_rate or scaled "
            "rewards."
        )


class QBound:
    """
    A magnitude that Q cannot reach while it learns: many times the largest discounted sum of the rewards seen so far.

    No policy earns more than max |r| / (1 - gamma), so that Q beyond a hundred times as much has lost its meaning,
    however much a healthy critic overestimates in its first thousands of updates. An entropy term adds at most
    alpha |log pi0|, taken as 10 alpha |A|. An n-step sample's reward is the sum over its steps, which only widens the
    bound. Rewards below 1 count as 1, and the Q of the first update counts too: what fresh networks say has nothing to
    do with rewards.

    """

    def __init__(self) -> None:
        self._reward_scale: th.Tensor | float = 1.0
        self._first: th.Tensor | None = None

    def limit(
        self,
        value: th.Tensor,
        rewards: th.Tensor,
        ent_coef: th.Tensor | None,
        factor: float,
        gamma: float,
        action_dim: int,
    ) -> th.Tensor:
        """
        :param value: Mean of min Q over a batch (its sign does not matter), a scalar.
        :param rewards: Of a batch, any shape.
        :param ent_coef: alpha; None without an entropy term.
        :param factor: How many times.
        :param gamma: Discount factor below 1.
        :param action_dim: |A|.
        :return: A scalar on the device of the rewards.
        """
        # What is not finite is reported by itself, and must not widen the bound.
        largest = rewards.detach().abs().max().nan_to_num(0.0, 0.0)
        if self._first is None:
            self._first = value.detach().abs().nan_to_num(0.0, 0.0)
        self._reward_scale = largest.clamp(min=self._reward_scale)
        scale = self._reward_scale if ent_coef is None else self._reward_scale + 10.0 * ent_coef * action_dim
        return factor * th.maximum(scale.max() / (1.0 - gamma), self._first)


def _all_good(checks: Sequence[_Check]) -> bool:
    """In a few operations for all of them."""
    unlimited = [check.values.flatten() for check in checks if check.limit is None]
    limited = [(check.values, check.limit) for check in checks if check.limit is not None]
    good = []
    if unlimited:
        good.append(th.isfinite(th.cat(unlimited)).all())
    if limited:
        values, limits = map(th.stack, zip(*limited, strict=True))
        good.append((values <= limits).all())
    return all(map(bool, good))


def _divergence(update: int, num_timesteps: int, value: float, limit: float) -> str:
    return (
        f"Q has diverged at gradient step {update}, after {num_timesteps} environment steps: its mean over a batch has "
        f"the magnitude {value:.3g}, beyond {limit:.3g}, divergence_factor times what the rewards seen so far "
        "can add up to. Go on from the last checkpoint or start anew with a smaller learning_rate, fewer gradient "
        "steps for each environment step (train/updates_per_step), a smaller gamma or scaled rewards, and look at "
        "train/q_source and train/critic_loss. divergence_factor=None turns this check off."
    )


def _masked_step(optimizer: th.optim.Optimizer, finite: th.Tensor) -> None:
    """Step where ``finite``; on a GPU without reading the flag, if the optimizer knows how to skip on the device."""
    if finite.device.type != "cpu" and getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif bool(finite):
        optimizer.step()
    mark_as_modified(optimizer)
