"""Settings of DEP, those of the paper's tasks under a name, and how they are given."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from sb3_qflex.common import validation

NORMALIZATIONS = ("independent", "reference", "global")
SWITCHINGS = ("stochastic", "initial only")


@dataclass(frozen=True)
class DEPConfig:
    """
    Settings of the controller and of when it acts (Schumacher et al., arXiv 2206.00484, and the authors' files).

    The defaults are those of the authors' default file, which says nothing of the switching: there the values of
    their MyoSuite baselines stand.

    :param kappa: Gain of the controller inside its tanh, positive
    :param tau: Window of the correlation in vector steps, at least 3
    :param bias_rate: Rate of the bias that drives motors away from their bounds; a negative one: no bias
    :param time_dist: Time D between sensor velocities that are correlated, in vector steps, at least 1
    :param s4avg: Time constant of the exponential smoothing of sensors, in vector steps; up to 1: none
    :param force_scale: Weight of the muscle forces beside their lengths, at least 0
    :param normalization: "independent" rows of the correlation matrix, "reference" as the authors' code has it (each
        column by the norm of the row of the same number), or all of an environment's matrix ("global")
    :param reset_on_done: Whether an episode's end makes the controller forget; the authors' does not, so that the jump
        into the new episode enters the correlation
    :param switching: "stochastic" interventions after the initial steps, as in the paper, or "initial only"
    :param initial_steps: Environment steps (of all environments together) in which DEP alone acts; None: as many as
        the algorithm's ``learning_starts``
    :param intervention_length: Vector steps L of an intervention, at least 1
    :param intervention_proba: Probability p per vector step that one begins, in [0, 1]
    :param test_episode_every: While the number of finished episodes is a multiple of it, the policy acts alone; None:
        never
    :raises ValueError: For values out of range
    """

    kappa: float = 100.0
    tau: int = 20
    bias_rate: float = 2e-5
    time_dist: int = 5
    s4avg: float = 2.0
    force_scale: float = 0.0
    normalization: str = "independent"
    reset_on_done: bool = False
    switching: str = "stochastic"
    initial_steps: int | None = None
    intervention_length: int = 5
    intervention_proba: float = 4e-4
    test_episode_every: int | None = 3

    def __post_init__(self) -> None:
        validation.check_number("kappa", self.kappa, above=True)
        validation.check_count("tau", self.tau, 3)
        validation.check_number("bias_rate", self.bias_rate, minimum=-float("inf"))
        validation.check_count("time_dist", self.time_dist)
        validation.check_number("s4avg", self.s4avg)
        validation.check_number("force_scale", self.force_scale)
        validation.check_choice("normalization", self.normalization, NORMALIZATIONS)
        validation.check_flag("reset_on_done", self.reset_on_done)
        validation.check_choice("switching", self.switching, SWITCHINGS)
        if self.initial_steps is not None:
            validation.check_count("initial_steps", self.initial_steps, 0)
        validation.check_count("intervention_length", self.intervention_length)
        validation.check_number("intervention_proba", self.intervention_proba, maximum=1.0)
        if self.test_episode_every is not None:
            validation.check_count("test_episode_every", self.test_episode_every)

    def with_changes(self, **changes: Any) -> Self:
        """
        A copy with other values.

        :param changes: Settings by name
        :raises ValueError: For unknown names and values out of range
        """
        validation.check_names("setting of dep", changes, [field.name for field in fields(self)])
        return replace(self, **changes)

    @staticmethod
    def of(given: Any) -> "DEPConfig":
        """
        Settings in any of the forms that algorithms take.

        :param given: A ``DEPConfig``, the name of one of :data:`PRESETS`, or a mapping of settings, in which
            ``"preset"`` may name what they change
        :raises ValueError: For anything else
        """
        if isinstance(given, DEPConfig):
            return given
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, Mapping):
            raise ValueError(
                f"dep must be a DEPConfig, a mapping of its settings or the name of a preset "
                f"({', '.join(PRESETS)}), not {given!r}."
            )
        changes = dict(given)
        name = changes.pop("preset", "default")
        validation.check_choice("preset of dep", name, PRESETS)
        return PRESETS[name].with_changes(**changes)


#: The authors' settings by task: their MyoSuite baselines, the ostrich, the arm that reaches, and the default file.
PRESETS: dict[str, DEPConfig] = {
    "myo_leg": DEPConfig(
        kappa=1169.7, tau=40, bias_rate=0.002, time_dist=5, s4avg=2.0, force_scale=0.0,
        intervention_length=5, intervention_proba=4e-4, test_episode_every=3, initial_steps=200_000,
    ),
    "ostrich": DEPConfig(
        kappa=20.0, tau=8, bias_rate=0.03, time_dist=5, s4avg=1.0, force_scale=3e-4,
        intervention_length=4, intervention_proba=4e-4, test_episode_every=3, initial_steps=300_000,
    ),
    "human_reacher": DEPConfig(
        kappa=1000.0, tau=80, bias_rate=2e-5, time_dist=60, s4avg=6.0, force_scale=0.04,
        intervention_length=20, intervention_proba=0.01, test_episode_every=10**10,
    ),
    "default": DEPConfig(),
}  # fmt: skip
