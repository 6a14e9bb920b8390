"""The QFlex algorithm inside Stable-Baselines3: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import (
    GymEnv,
    MaybeCallback,
    ReplayBufferSamples,
    Schedule,
    TensorDict,
)

from sb3_qflex.algorithm import SavingAlgorithm
from sb3_qflex.common import validation
from sb3_qflex.common.guard import LearnerGuard, QBound
from sb3_qflex.common.losses import temperature_loss
from sb3_qflex.common.model_file import opened_model
from sb3_qflex.common.networks import Critics, SourceActor, VelocityField
from sb3_qflex.qflex.metrics import TrainingLog
from sb3_qflex.qflex.objectives import critic_objective, field_objective, source_objective
from sb3_qflex.qflex.options import check_options
from sb3_qflex.qflex.policies import MlpPolicy, MultiInputPolicy, QFlexPolicy

SelfQFlex = TypeVar("SelfQFlex", bound="QFlex")


class QFlex(SavingAlgorithm):
    """
    Q-guided Flow Exploration (QFlex): a Gaussian source policy proposes an action, and a learned velocity field
    carries it along the gradient of Q, in the full action space.
    Paper: https://arxiv.org/abs/2601.19707 (ICLR 2026)

    The defaults suit one environment. The paper's regime is 70 to 80 environments (``train_freq=1``,
    ``gradient_steps=1``) after ``learning_starts=30_000``; ``hyperparams/qflex.yml`` has it for each task.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of QFlexPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for the optimizers of all networks;
        it can be a function of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer, which is allocated by the first ``learn`` or ``load_replay_buffer``
    :param learning_starts: how many steps of the model to collect transitions for before learning starts, with random
        actions. A trained model that goes on without its replay buffer collects as many with its own policy
    :param batch_size: Minibatch size for each gradient update, at least 2 with BatchRenorm
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency and unit
        like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many gradient steps as steps done in the environment
        during the rollout.
    :param action_noise: the action noise type (None by default), added to the action in [-1, 1]
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``).
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Store each observation once; for Box observations and one-step returns, with
        ``replay_buffer_kwargs=dict(handle_timeout_termination=False)``: time limits then count as terminations
    :param n_steps: When n_step > 1, uses n-step return (with the NStepReplayBuffer) when updating the critics;
        for Box observations
    :param ent_coef: Entropy regularization coefficient alpha of critics and source policy, 0 in the paper.
        Set it to 'auto' to learn it automatically (and 'auto_0.1' for using 0.1 as initial value)
    :param target_entropy: target entropy when learning ``ent_coef`` (``ent_coef = 'auto'``), by default -|A|
    :param policy_delay: Source policy and velocity field are updated every ``policy_delay`` gradient steps
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see :class:`QFlexPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param flow_steps: Euler steps K of the flow when acting, at least 1
    :param guidance_steps: gradient-ascent steps N of the flow target, at least 1
    :param guidance_step_size: their step size eta, positive
    :param bootstrap: next action of the critics' target: a sample of the "source" policy (the reference
        implementation), or that sample carried by the "flow"
    :param preconditioner: metric M of the ascent: None for the identity, an array of |A| positive numbers for its
        diagonal, or "rms" for the inverse root of a running average of squared gradients, scaled to mean 1
    :param exploration: what every ``predict`` executes, deterministic ones too: the "flow" from a source action, the
        "source" action itself, or "ascent", N guidance steps on the current critics. The last two train no velocity
        field
    :param bad_states: what happens when the environment gives a number that is not finite or beyond 1e10: "raise" an
        error, "truncate" the episode there and reset that environment, or "off"; see
        :class:`sb3_qflex.vec_env.BadStateGuard`
    :param divergence_factor: training stops with an error when the mean of Q exceeds this many times what the rewards
        seen so far can add up to, max |r| / (1 - gamma); at least 1. None turns this off, as ``gamma=1`` does
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: QFlexPolicy
    actor: SourceActor
    critic: Critics
    field: VelocityField

    def __init__(
        self,
        policy: str | type[QFlexPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 100,
        batch_size: int = 256,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        ent_coef: str | float = 0.0,
        target_entropy: str | float = "auto",
        policy_delay: int = 1,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        flow_steps: int = 20,
        guidance_steps: int = 20,
        guidance_step_size: float = 0.01,
        bootstrap: str = "source",
        preconditioner: np.ndarray | list[float] | str | None = None,
        exploration: str = "flow",
        bad_states: str = "raise",
        divergence_factor: float | None = 100.0,
        **unknown: Never,
    ):
        validation.check_keywords("QFlex", unknown, QFlex.__init__)
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            1.0,  # no target networks
            gamma,
            train_freq,
            gradient_steps,
            action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            support_multi_env=True,
        )
        self.ent_coef = ent_coef
        self.target_entropy = target_entropy
        self.policy_delay = policy_delay
        self.flow_steps = flow_steps
        self.guidance_steps = guidance_steps
        self.guidance_step_size = guidance_step_size
        self.bootstrap = bootstrap
        self.preconditioner = preconditioner
        self.exploration = exploration
        self.bad_states = bad_states
        self.divergence_factor = divergence_factor

        self.log_ent_coef: th.Tensor | None = None
        self.ent_coef_optimizer: th.optim.Optimizer | None = None
        self._updates_from = learning_starts
        self._guard = LearnerGuard()
        self._training_log = TrainingLog()
        if _init_setup_model:
            self._setup_model()

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        validation.check_choice("policy", policy_name, self.policy_aliases)
        return super()._get_policy_from_name(policy_name)

    def _setup_model(self) -> None:
        # Also reached by load, which bypasses __init__. The replay buffer comes later, see _setup_learn.
        check_options(self)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            **self.policy_kwargs,
            flow_steps=self.flow_steps,
            guidance_steps=self.guidance_steps,
            guidance_step_size=self.guidance_step_size,
            preconditioner=self.preconditioner,
            exploration=self.exploration,
        ).to(self.device)
        self._convert_train_freq()
        self.actor, self.critic, self.field = self.policy.actor, self.policy.critic, self.policy.field
        self._setup_temperature()
        self._q_bound: QBound | None = None
        if self.divergence_factor is not None and self.gamma < 1.0:
            self._q_bound = QBound(self.divergence_factor, self.gamma, self.actor.action_dim)

    def _setup_temperature(self) -> None:
        """alpha, fixed or learned, as in SB3's SAC."""
        if self.target_entropy == "auto":
            self.target_entropy = -float(self.actor.action_dim)
        if isinstance(self.ent_coef, str):
            initial = float(self.ent_coef.partition("_")[2] or 1.0)
            self.log_ent_coef = th.full((1,), initial, device=self.device).log().requires_grad_(True)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1))
        else:
            self.ent_coef_tensor = th.tensor(float(self.ent_coef), device=self.device)

    # --- One gradient step: batch -> target -> path sample -> loss -> optimizer ---

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """
        Sample the replay buffer and update critics, source policy and velocity field, in this order.

        :param gradient_steps: Number of batches, at least 1.
        :param batch_size: Transitions in each.
        :raises ValueError: At the end, if an observation, action, reward, loss or gradient was not finite (it changed
            no parameter), or if Q has diverged.
        """
        assert self.replay_buffer is not None, "learn() allocates the replay buffer"
        # Each objective puts the one network that it trains in train mode, and back.
        self.policy.set_training_mode(False)
        self._update_learning_rate(self._optimizers())
        for _ in range(gradient_steps):
            self._n_updates += 1
            batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            self._check_batch(batch)
            self._gradient_step(batch)
            self._training_log.last_observations = batch.observations
        self._guard.raise_if_any(self.num_timesteps)

    def _gradient_step(self, batch: ReplayBufferSamples) -> None:
        ent_coef = self._temperature()
        critic_loss = critic_objective(self.policy, batch, self.gamma, self.bootstrap, ent_coef)
        self._minimise(self.critic.optimizer, critic_loss, "critic")
        if self._n_updates % self.policy_delay != 0:
            return
        source_loss, log_prob = source_objective(self.policy, batch.observations, ent_coef)
        self._minimise(self.actor.optimizer, source_loss, "actor")
        if self._q_bound is not None:
            limit = self._q_bound.limit(source_loss, batch.rewards, ent_coef)
            self._guard.check_bound(source_loss, limit, self._n_updates)
        self._training_log.means.add("ent_coef", self.ent_coef_tensor if ent_coef is None else ent_coef)
        if self.ent_coef_optimizer is not None:
            assert self.log_ent_coef is not None and log_prob is not None
            loss = temperature_loss(self.log_ent_coef, log_prob, float(self.target_entropy))
            self._minimise(self.ent_coef_optimizer, loss, "ent_coef")
        if self.exploration == "flow" or self.bootstrap == "flow":
            self._minimise(self.field.optimizer, field_objective(self.policy, batch.next_observations), "flow")

    def _optimizers(self) -> list[th.optim.Optimizer]:
        optimizers = [self.critic.optimizer, self.actor.optimizer, self.field.optimizer]
        return optimizers if self.ent_coef_optimizer is None else [*optimizers, self.ent_coef_optimizer]

    def _check_batch(self, batch: ReplayBufferSamples) -> None:
        for name in ("observations", "next_observations", "actions", "rewards"):
            self._guard.check(name, getattr(batch, name), self._n_updates)

    def _temperature(self) -> th.Tensor | None:
        """alpha as a constant; None for a fixed 0, whose terms are left out."""
        if self.log_ent_coef is not None:
            return self.log_ent_coef.detach().exp()
        return None if self.ent_coef == 0 else self.ent_coef_tensor

    def _minimise(self, optimizer: th.optim.Optimizer, loss: th.Tensor, name: str) -> None:
        self._guard.step(optimizer, loss, name, self._n_updates)
        self._training_log.means.add(f"{name}_loss", loss)

    def learn(
        self: SelfQFlex,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "QFlex",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfQFlex:
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    # --- Logging ---

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        prepared = super()._setup_learn(*args, **kwargs)
        self._training_log.start(self._n_updates, self.num_timesteps)
        return prepared

    def dump_logs(self) -> None:
        """Write log data; the diagnostics of the flow are computed here, on the last batch."""
        for name, value in self._training_log.values(self.policy, self._n_updates, self.num_timesteps).items():
            self.logger.record(f"train/{name}", value)
        if self._n_updates > 0:
            self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        super().dump_logs()

    # --- Saving ---

    @classmethod
    def load(cls: type[SelfQFlex], path: Any, env: GymEnv | None = None, device: th.device | str = "auto",
             custom_objects: dict[str, Any] | None = None, print_system_info: bool = False, force_reset: bool = True,
             **kwargs: Any) -> SelfQFlex:  # fmt: skip
        """
        Load the model from a zip-file, see ``BaseAlgorithm.load``.

        :param kwargs: arguments of the constructor to change, such as ``flow_steps``
        :raises TypeError: for a name that is none of them
        :raises BrokenFileError: a ValueError, if the file is damaged or is no QFlex model
        """
        validation.check_keywords("QFlex.load", kwargs, QFlex.__init__, but=("policy", "_init_setup_model"))
        with opened_model(path) as file:
            return super().load(file, env, device, custom_objects, print_system_info, force_reset, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        own = ["actor", "critic", "field", "ent_coef_tensor", "_guard", "_training_log", "_q_bound", "_bad_state_guard"]
        return [*super()._excluded_save_params(), *own]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts = ["policy", "actor.optimizer", "critic.optimizer", "field.optimizer"]
        if self.ent_coef_optimizer is not None:
            return [*state_dicts, "ent_coef_optimizer"], ["log_ent_coef"]
        # A fixed alpha is ent_coef itself: stored once more, it would win over load(ent_coef=...).
        return state_dicts, []

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
        params = load_path_or_dict if exact_match and isinstance(load_path_or_dict, dict) else {}
        if set(params) ^ set(self._get_torch_save_params()[0]) == {"ent_coef_optimizer"}:
            # RuntimeError, as torch raises for other states that do not fit; load() passes it on.
            raise RuntimeError(
                f"ent_coef={self.ent_coef!r} does not fit the saved model, whose ent_coef was "
                f"{'learned' if 'ent_coef_optimizer' in params else 'fixed'}: a loaded model can change its value, but "
                "not between a fixed number and 'auto'. Leave ent_coef out, or train a new model."
            )
        super().set_parameters(load_path_or_dict, exact_match, device)
