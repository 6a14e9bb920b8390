"""What QFlex logs: means accumulated on the device, and diagnostics of the flow on one batch."""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.qflex.guidance import smallest
from sb3_qflex.qflex.policies import QFlexPolicy

#: Gradient steps between two computations of the diagnostics, at least: they take two thirds of an update, and with
#: dozens of environments some episodes end, and SB3 dumps, at almost every step.
DIAGNOSTICS_INTERVAL = 20


class RunningMeans:
    """Means of scalars since the last :meth:`pop`, on the device of the scalars: adding does not synchronise."""

    def __init__(self) -> None:
        self._sums: dict[str, th.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: th.Tensor) -> None:
        """
        :param name: Name of the scalar.
        :param value: One element.
        """
        value = value.detach().reshape(())
        self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._counts[name] = self._counts.get(name, 0) + 1

    def pop(self) -> dict[str, float]:
        """Means by name, fetched at once; starts anew."""
        names = list(self._sums)
        sums = th.stack([self._sums[name].double() for name in names]).tolist() if names else []
        means = {name: total / self._counts[name] for name, total in zip(names, sums, strict=True)}
        self._sums, self._counts = {}, {}
        return means


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
        guidance = policy.ascend(obs, source_actions)
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


class TrainingLog:
    """What the ``train/`` keys show, gathered between two dumps and computed at the dump."""

    def __init__(self) -> None:
        self.means = RunningMeans()
        self.last_observations: PyTorchObs | None = None
        self._n_updates = 0
        self._num_timesteps = 0
        self._values: dict[str, float] = {}
        self._diagnostics: dict[str, float] = {}
        self._diagnosed_at = 0

    def start(self, n_updates: int, num_timesteps: int) -> None:
        """
        Count updates and steps from here.

        :param n_updates: Gradient steps so far.
        :param num_timesteps: Environment steps so far.
        """
        self._n_updates, self._num_timesteps = n_updates, num_timesteps

    def state(self) -> dict[str, Any]:
        """What was gathered since the last dump, for :meth:`restore`."""
        return {**vars(self), "means": vars(self.means)}

    def restore(self, state: dict[str, Any]) -> None:
        """
        :param state: What :meth:`state` gave; tensors on the device of the model.
        """
        vars(self).update({name: value for name, value in state.items() if name != "means"})
        vars(self.means).update(state["means"])

    def values(self, policy: QFlexPolicy, n_updates: int, num_timesteps: int) -> dict[str, float]:
        """
        Means since the last call and diagnostics on the last batch; empty where nothing was learned since. Diagnostics
        younger than ``DIAGNOSTICS_INTERVAL`` gradient steps are shown again.

        :param policy: The policy.
        :param n_updates: Gradient steps so far.
        :param num_timesteps: Environment steps so far.
        """
        updates, steps = n_updates - self._n_updates, num_timesteps - self._num_timesteps
        if updates > 0 and self.last_observations is not None:
            if not self._diagnostics or n_updates - self._diagnosed_at >= DIAGNOSTICS_INTERVAL:
                self._diagnostics = flow_diagnostics(policy, self.last_observations)
                self._diagnosed_at = n_updates
            self._values = {
                **self.means.pop(),
                **self._diagnostics,
                "clamped_share": policy.pop_clamped_share(),
                "updates_per_step": updates / max(steps, 1),
            }
        elif steps > 0:
            self._values = {}
        # Episodes that end at the same step dump one after the other: each of them shows the same values.
        self.start(n_updates, num_timesteps)
        return self._values
