"""The entropy coefficient alpha of algorithms with a stochastic source policy: fixed, or learned as in SB3's SAC."""

import math
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import TensorDict

from sb3_qflex.common import options, validation
from sb3_qflex.common.losses import temperature_loss
from sb3_qflex.common.off_policy import OffPolicyBase


class EntropyRegularised(OffPolicyBase):
    """
    Adds ``ent_coef`` and ``target_entropy``, under SAC's names also in saved files.

    Assigning ``ent_coef`` starts alpha anew from the new value.
    """

    ent_coef: str | float = options.coefficient(lambda model, _: model._setup_temperature())
    target_entropy: str | float = options.option(
        lambda _, name, value: None if value == "auto" else validation.check_number(name, value, minimum=-math.inf),
        lambda model, _: model._set_target_entropy(),
    )
    log_ent_coef: th.Tensor | None = None
    ent_coef_optimizer: th.optim.Optimizer | None = None

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self._set_target_entropy()
        self._setup_temperature()

    def _set_target_entropy(self) -> None:
        if self.target_entropy == "auto":
            self.target_entropy = -float(self.policy.action_dim)

    def _setup_temperature(self) -> None:
        self.log_ent_coef = self.ent_coef_optimizer = None
        if isinstance(self.ent_coef, str):
            initial = validation.initial_coefficient(self.ent_coef)
            start = th.full((1,), initial, dtype=th.float32, device=self.device).log()
            self.log_ent_coef = start.requires_grad_(True)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1))
        else:
            self.ent_coef_tensor = th.tensor(float(self.ent_coef), dtype=th.float32, device=self.device)

    def temperature(self) -> th.Tensor | None:
        """alpha as a constant; None for a fixed 0, whose terms are left out."""
        if self.log_ent_coef is not None:
            return self.log_ent_coef.detach().exp()
        return None if self.ent_coef == 0 else self.ent_coef_tensor

    def update_temperature(self, ent_coef: th.Tensor | None, log_prob: th.Tensor | None) -> None:
        """
        Log alpha, and learn it where it is learned.

        :param ent_coef: What :meth:`temperature` gave for this update.
        :param log_prob: Log-probabilities of source actions, (B,); None without an entropy term.
        """
        self._training_log.means.add("ent_coef", self.ent_coef_tensor if ent_coef is None else ent_coef)
        if self.ent_coef_optimizer is not None:
            assert self.log_ent_coef is not None and log_prob is not None
            loss = temperature_loss(self.log_ent_coef, log_prob, float(self.target_entropy))
            self.minimise(self.ent_coef_optimizer, loss, "ent_coef")

    def _optimizers(self) -> list[th.optim.Optimizer]:
        optimizers = super()._optimizers()
        return optimizers if self.ent_coef_optimizer is None else [*optimizers, self.ent_coef_optimizer]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "ent_coef_tensor"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        if self.ent_coef_optimizer is not None:
            return [*state_dicts, "ent_coef_optimizer"], [*variables, "log_ent_coef"]
        # A fixed alpha is ent_coef itself: stored once more, it would win over load(ent_coef=...).
        return state_dicts, variables

    def set_parameters(
        self, load_path_or_dict: str | TensorDict, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """
        Load parameters from a given zip-file or a nested dictionary, see ``BaseAlgorithm.set_parameters``.

        :param load_path_or_dict: Path or file-like of a saved model, or what ``get_parameters`` returns.
        :param exact_match: Whether all parameters must be given.
        :param device: Device on which the code should run.
        :raises RuntimeError: If one has a learned and the other a fixed entropy coefficient.
        """
        params: Any = load_path_or_dict if exact_match and isinstance(load_path_or_dict, dict) else {}
        if set(params) ^ set(self._get_torch_save_params()[0]) == {"ent_coef_optimizer"}:
            # RuntimeError, as torch raises for other states that do not fit; load() passes it on.
            raise RuntimeError(
                f"ent_coef={self.ent_coef!r} does not fit the saved model, whose ent_coef was "
                f"{'learned' if 'ent_coef_optimizer' in params else 'fixed'}: load the model as it is, and assign "
                "model.ent_coef then, which starts it anew."
            )
        super().set_parameters(load_path_or_dict, exact_match, device)
