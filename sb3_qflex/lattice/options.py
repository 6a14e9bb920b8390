"""What Lattice's noise may be told, checked at once, and the distribution that it makes of that."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from sb3_qflex.common.validation import check_count, check_flag, check_number
from sb3_qflex.lattice.distributions import LatticeStateDependentDistribution, SquashedLatticeDistribution


@dataclass(frozen=True)
class LatticeNoise:
    """
    Lattice's noise. All but ``log_std_init`` concern its state-dependent form.

    :param state_dependent: Whether the noise is a function of the state that is held for some steps, as in gSDE
    :param log_std_init: Added to all log standard deviations; in the state-dependent form what L is filled with
    :param lattice_alpha: alpha, the weight of the latent noise, at least 0
    :param std_clip: Smallest and largest exp(L), before their division by the root of n
    :param std_reg: Standard deviation that is added to each actuator's, in samples and densities; at least 0
    :param use_expln: Whether deviations are expln(L), which grows slowly above 0, for exp(L)
    :param expln_eps: As in SB3's expln
    :param full_std: Whether L has an entry for each weight, or one for each latent unit and kind of noise
    :param clip_mean: Bound of the mean before the tanh; 0 for none
    :param noise_sample_freq: Steps of the environments after which matrices are drawn anew
    :raises ValueError: For values out of range
    """

    state_dependent: bool = False
    log_std_init: float = 0.0
    lattice_alpha: float = 1.0
    std_clip: tuple[float, float] = (1e-3, 1.0)
    std_reg: float = 0.0
    use_expln: bool = False
    expln_eps: float = 1e-6
    full_std: bool = True
    clip_mean: float = 2.0
    noise_sample_freq: int = 8

    def __post_init__(self) -> None:
        for name in ("state_dependent", "use_expln", "full_std"):
            check_flag(name, getattr(self, name))
        check_number("log_std_init", self.log_std_init, minimum=-math.inf)
        for name in ("lattice_alpha", "std_reg", "expln_eps", "clip_mean"):
            check_number(name, getattr(self, name))
        check_count("noise_sample_freq", self.noise_sample_freq)
        # A tuple also where it comes from JSON.
        object.__setattr__(self, "std_clip", check_std_clip(self.std_clip))

    @property
    def mean_bound(self) -> float:
        """Largest size of the mean before the tanh."""
        return self.clip_mean if self.state_dependent and self.clip_mean > 0.0 else math.inf

    def distribution(self, action_dim: int) -> SquashedLatticeDistribution | LatticeStateDependentDistribution:
        """
        Of an off-policy actor.

        :param action_dim: d.
        """
        if not self.state_dependent:
            return SquashedLatticeDistribution(action_dim, self.log_std_init)
        return LatticeStateDependentDistribution(
            action_dim, squash_output=True, learn_features=True, **self.state_dependent_arguments()
        )

    def state_dependent_arguments(self) -> dict[str, Any]:
        """Those of :class:`LatticeStateDependentDistribution` that are options."""
        names = ("lattice_alpha", "std_clip", "std_reg", "use_expln", "expln_eps", "full_std")
        return {name: getattr(self, name) for name in names}


def check_std_clip(value: Any) -> tuple[float, float]:
    """
    :param value: Of ``std_clip``
    :return: The same as a tuple
    :raises ValueError: For anything but two increasing positive numbers
    """
    try:
        low, high = value
        check_number("std_clip[0]", low, above=True)
        check_number("std_clip[1]", high, minimum=low, above=True)
        return low, high
    except (TypeError, ValueError) as error:
        raise ValueError(f"std_clip must be two positive numbers, the smaller one first, not {value!r}.") from error


class LatticeOptions:
    """
    Policies with Lattice's noise: its settings are arguments of the policy beside those of its base class.

    :param arguments: Of the base class
    :param keywords: Of the base class; others as in :class:`LatticeNoise`
    """

    noise: LatticeNoise
    #: Types of these arguments in a policy file.
    noise_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "state_dependent": (bool,),
        "log_std_init": (float, int),
        "lattice_alpha": (float, int),
        "std_clip": (list,),
        "std_reg": (float, int),
        "use_expln": (bool,),
        "expln_eps": (float, int),
        "full_std": (bool,),
        "clip_mean": (float, int),
        "noise_sample_freq": (int,),
    }

    def __init__(
        self,
        *arguments: Any,
        state_dependent: bool = False,
        log_std_init: float = 0.0,
        lattice_alpha: float = 1.0,
        std_clip: tuple[float, float] = (1e-3, 1.0),
        std_reg: float = 0.0,
        use_expln: bool = False,
        expln_eps: float = 1e-6,
        full_std: bool = True,
        clip_mean: float = 2.0,
        noise_sample_freq: int = 8,
        **keywords: Any,
    ):
        self.noise = LatticeNoise(
            state_dependent,
            log_std_init,
            lattice_alpha,
            std_clip,
            std_reg,
            use_expln,
            expln_eps,
            full_std,
            clip_mean,
            noise_sample_freq,
        )
        # By their names, under which policies save their arguments.
        vars(self).update(asdict(self.noise))
        super().__init__(*arguments, **keywords)
