"""When the weights of single muscles come in: options that algorithms with groups of muscles share."""

from typing import Any

from sb3_qflex.common import options
from sb3_qflex.dynsyn.synergies import MAX_AMPLITUDE, Synergies, amplitude


class WeightSchedule:
    """
    The amplitude A of the weights, as a schedule or fixed.

    It is part of the policy, so that what was saved acts as it did.
    """

    weight_k: float = options.number()
    weight_a0: float = options.number()
    weight_amp: float | None = options.number(
        maximum=MAX_AMPLITUDE, optional=True, changed=lambda model, _: model._fix_amplitude()
    )
    policy: Any
    policy_kwargs: dict[str, Any]
    num_timesteps: int
    #: Of calls of ``learn`` before one that counted from 0 again: the schedule is of the model's life.
    earlier_timesteps: int = 0

    @property
    def synergies(self) -> Synergies:
        """The groups that the policy acts on, with A."""
        return self.policy.synergies

    def _keep_groups(self) -> None:
        """The lists themselves: a saved model is read where no preset or file of that name need be."""
        self.policy_kwargs = {**self.policy_kwargs, "groups": self.policy.groups}

    def _fix_amplitude(self) -> None:
        if self.weight_amp is not None:
            self.synergies.set_amplitude(self.weight_amp)

    def _advance_amplitude(self) -> None:
        if self.weight_amp is None:
            steps = self.earlier_timesteps + self.num_timesteps
            self.synergies.set_amplitude(amplitude(steps, self.weight_k, self.weight_a0))

    def _setup_learn(
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, *args: Any, **kwargs: Any
    ) -> tuple[int, Any]:
        if reset_num_timesteps:
            self.earlier_timesteps += self.num_timesteps
        return super()._setup_learn(  # type: ignore[misc]
            total_timesteps, callback, reset_num_timesteps, *args, **kwargs
        )

    def set_parameters(self, *arguments: Any, **keywords: Any) -> None:
        """
        Load parameters, see ``BaseAlgorithm.set_parameters``. A fixed ``weight_amp`` stays as it is.

        :param arguments: Of that.
        :param keywords: Of that.
        """
        super().set_parameters(*arguments, **keywords)  # type: ignore[misc]
        self._fix_amplitude()
