"""What MaxInfoRL adds to an algorithm with an entropy term: the order of its steps, its options and its state."""

import copy
from collections.abc import Sequence
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import update_learning_rate

from sb3_qflex.common import options, validation
from sb3_qflex.common.networks import follow
from sb3_qflex.common.off_policy import OffPolicyBase
from sb3_qflex.common.type_aliases import Bonus
from sb3_qflex.common.validation import check_count
from sb3_qflex.maxinfo.information import REFERENCES, InformationGain
from sb3_qflex.maxinfo.objectives import info_coef_loss

#: Attributes with a state that saved files hold.
_STATES = ("information", "information_optimizer", "info_coef_optimizer", "slow_actor")


def _check_widths(_: Any, name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list of widths of hidden layers, such as [256, 256], not {value!r}.")
    for width in value:
        check_count(f"each width in {name}", width)


def _new_ensemble(model: Any, _: Any) -> None:
    model._setup_information()


class MaxInfo(OffPolicyBase):
    """
    Mixin before :class:`sb3_qflex.sac.sac.SAC` or :class:`sb3_qflex.QFlex`, whose ``bonus`` it supplies.

    Its options are those of :class:`sb3_qflex.MaxInfoSAC`. Assigning one that the ensemble is made with starts the
    ensemble anew, and assigning ``info_coef`` starts lambda and the slow policy anew.
    """

    of_file = ("ensemble_size", "ensemble_arch", "learn_reward", "reference")
    actor: Any
    information: InformationGain
    information_optimizer: th.optim.Optimizer
    slow_actor: Any
    log_info_coef: th.Tensor
    info_coef_optimizer: th.optim.Optimizer

    ensemble_size: int = options.count(minimum=2, changed=_new_ensemble)
    ensemble_arch: Sequence[int] = options.option(_check_widths, _new_ensemble)
    ensemble_lr: float = options.number()
    info_coef: str | float = options.coefficient(lambda model, _: model._setup_info_coef())
    learn_reward: bool = options.flag(_new_ensemble)
    reward_weight: float | None = options.number(maximum=1.0, optional=True, changed=_new_ensemble)
    info_norm_cap: float | None = options.number(minimum=1.0, optional=True, changed=_new_ensemble)
    reference: str = options.choice(REFERENCES, _new_ensemble)
    slow_tau: float = options.number(maximum=1.0)

    def __init__(
        self,
        policy: Any,
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        *,
        ensemble_size: int = 5,
        ensemble_arch: Sequence[int] = (256, 256),
        ensemble_lr: float = 3e-4,
        info_coef: str | float = "auto_1.0",
        learn_reward: bool = True,
        reward_weight: float | None = None,
        info_norm_cap: float | None = 1e6,
        reference: str = "torch",
        slow_tau: float = 0.005,
        _init_setup_model: bool = True,
        **arguments: Any,
    ):
        super().__init__(policy, env, learning_rate, _init_setup_model=False, **arguments)
        self.ensemble_size = ensemble_size
        self.ensemble_arch = ensemble_arch
        self.ensemble_lr = ensemble_lr
        self.info_coef = info_coef
        self.learn_reward = learn_reward
        self.reward_weight = reward_weight
        self.info_norm_cap = info_norm_cap
        self.reference = reference
        self.slow_tau = slow_tau
        if _init_setup_model:
            self._setup_model()

    # --- Construction ---

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self.slow_actor = copy.deepcopy(self.actor)
        del self.slow_actor.optimizer
        self._setup_information()
        self._setup_info_coef()

    def _setup_information(self) -> None:
        # The other networks and their noise stay those that the algorithm without this has at the same seed.
        with th.random.fork_rng(devices=[]):
            information = InformationGain(
                self.actor.features_extractor.features_dim,
                self.policy.action_dim,
                self.ensemble_size,
                self.ensemble_arch,
                REFERENCES[self.reference],
                self.learn_reward,
                self.reward_weight,
                self.info_norm_cap,
            )
        self.information = information.to(self.device)
        parameters = self.information.ensemble.parameters()
        self.information_optimizer = th.optim.Adam(parameters, lr=self.ensemble_lr, fused=True)

    def _setup_info_coef(self) -> None:
        # There for a fixed lambda too, so that all files have the same parts.
        start = validation.initial_coefficient(self.info_coef) if isinstance(self.info_coef, str) else 1.0
        self.log_info_coef = th.full((1,), start, device=self.device).log().requires_grad_(True)
        self.info_coef_optimizer = th.optim.Adam([self.log_info_coef], lr=self.lr_schedule(1))
        self.slow_actor.load_state_dict(self.actor.state_dict())
        self.slow_actor.train(False)

    # --- An update ---

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        update_learning_rate(self.information_optimizer, self.ensemble_lr)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """
        Sample the replay buffer and update the networks, see :meth:`OffPolicyBase.train`.

        :param gradient_steps: Number of batches, at least 1.
        :param batch_size: Transitions in each.
        """
        if self._is_informed and not REFERENCES[self.reference].follows_updates:
            self._observe(self.replay_buffer.sample(batch_size, env=self._vec_normalize_env))
        super().train(gradient_steps, batch_size)

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        The algorithm's own update with the bonus in it, then one step of slow policy and ensemble.

        :param batch: Transitions.
        """
        if self._is_informed and REFERENCES[self.reference].follows_updates:
            self._observe(batch)
        super().gradient_step(batch)
        if self._is_informed:
            follow(self.slow_actor, self.actor, self.slow_tau)
            self.minimise(self.information_optimizer, self.information.loss(*self._transitions(batch)), "ensemble")

    def bonus(self, observations: PyTorchObs, actions: th.Tensor | None = None) -> Bonus | None:
        """
        lambda I, with I normalised, after a step of lambda, which this update does not see yet.

        :param observations: s of the batch.
        :param actions: a ~ pi(s), with their graph; None to draw them here.
        :return: None where ``info_coef`` is 0: nothing is drawn or learned then.
        """
        if not self._is_informed:
            return None
        with th.no_grad():
            drawn = self.actor(observations) if actions is None else actions
            slow_actions = self.slow_actor(observations)
        gain = self.information_gain(observations, drawn)
        with th.no_grad():
            slow_gain = self.information_gain(observations, slow_actions)
        gains = self.information.gains
        gains.update(th.cat([gain.detach(), slow_gain]))
        info_coef = self._info_coef()
        self._update_info_coef(info_coef, gains(gain), gains(slow_gain))

        def bonus(observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
            # SAC's actor loss is at the very actions that are known already.
            known = actions is drawn
            return info_coef * gains(gain if known else self.information_gain(observations, actions))

        return bonus

    def information_gain(self, observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        I(s, a), not normalised; differentiable by the action.

        :param observations: s.
        :param actions: Shape (B, |A|).
        :return: Shape (B,).
        """
        return self.information(self._features(observations), actions)

    @th.no_grad()
    def _features(self, observations: PyTorchObs) -> th.Tensor:
        """Of the slow policy: with a learned extractor, those of the policy would change faster than a model learns."""
        features = self.slow_actor.extract_features(observations, self.slow_actor.features_extractor)
        return features.to(self.information.weights.dtype)

    def _transitions(self, batch: ReplayBufferSamples) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        features, next_features = self._features(batch.observations), self._features(batch.next_observations)
        return features, batch.actions, next_features, batch.rewards

    def _observe(self, batch: ReplayBufferSamples) -> None:
        self.information.observe(*self._transitions(batch))

    @property
    def _is_informed(self) -> bool:
        return self.info_coef != 0

    def _info_coef(self) -> th.Tensor:
        if isinstance(self.info_coef, str):
            return self.log_info_coef.detach().exp()
        return self.log_info_coef.new_tensor([self.info_coef])

    def _update_info_coef(self, info_coef: th.Tensor, gain: th.Tensor, slow_gain: th.Tensor) -> None:
        if isinstance(self.info_coef, str):
            loss = info_coef_loss(self.log_info_coef, gain, slow_gain)
            self.minimise(self.info_coef_optimizer, loss, "info_coef")
        means = self._training_log.means
        means.add("info_coef", info_coef)
        means.add("info_gain", gain.mean())
        means.add("slow_info_gain", slow_gain.mean())
        self._largest_bonus = info_coef * gain.detach().abs().max()

    def check_divergence(self, q_value: th.Tensor, rewards: th.Tensor, ent_coef: th.Tensor | None = None) -> None:
        """
        Remember whether Q is within what rewards and bonus can add up to, see ``divergence_factor``.

        :param q_value: Mean of Q over a batch (its sign does not matter), a scalar.
        :param rewards: Of that batch.
        :param ent_coef: alpha; None without an entropy term.
        """
        if self._is_informed:
            rewards = rewards.abs() + self._largest_bonus
        super().check_divergence(q_value, rewards, ent_coef)

    # --- Saving ---

    def _optimizers(self) -> list[th.optim.Optimizer]:
        # Those that the learning rate's schedule holds for.
        return [*super()._optimizers(), self.info_coef_optimizer]

    @classmethod
    def file_parts(cls) -> tuple[str, ...]:
        """States that each saved file has beside the policy's."""
        return (*super().file_parts(), *_STATES)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_largest_bonus"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        return [*state_dicts, *_STATES], [*variables, "log_info_coef"]
