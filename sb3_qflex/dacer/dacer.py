"""The DACER algorithm inside Stable-Baselines3: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import update_learning_rate

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options, validation
from sb3_qflex.common.diffusion import policy_learning_rate
from sb3_qflex.common.diffusion_networks import NoisePredictor
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.tempered import Tempered
from sb3_qflex.dacer.entropy import (
    ESTIMATORS,
    check_components,
    check_samples,
    choose_estimator,
    diag_entropy,
    gmm_entropy,
)
from sb3_qflex.dacer.networks import ReturnCritics
from sb3_qflex.dacer.objectives import actor_objective, critic_objective
from sb3_qflex.dacer.options import PRESETS
from sb3_qflex.dacer.policies import DACERPolicy, MlpPolicy, MultiInputPolicy


class DACER(Tempered, Algorithm):
    """
    Diffusion Actor-Critic with Entropy Regulator (DACER): the denoising chain is the policy, and is trained by the
    gradient of min Q through all of its steps; noise on executed actions is scaled by alpha, which an estimate of the
    policy's entropy controls. The critics learn distributions of the return.
    Paper: https://arxiv.org/abs/2405.15177 (NeurIPS 2024)

    The defaults are those of the authors' repository, whose regime is 20 environments with ``train_freq=1``,
    ``gradient_steps=1`` and ``learning_starts=30_000``, 1.5e6 updates in all.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of DACERPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate of critics and, at first, of the noise predictor;
        it can be a function of the current progress remaining (from 1 to 0). None for that of the preset, 1e-4 or 3e-4
    :param buffer_size: size of the replay buffer, which is allocated by the first ``learn`` or ``load_replay_buffer``
    :param learning_starts: how many steps of the model to collect transitions for before learning starts, with random
        actions. A trained model that goes on without its replay buffer collects as many with its own policy
    :param batch_size: Minibatch size for each gradient update
    :param tau: the soft update coefficient of the target critics (between 0 and 1)
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency and unit
        like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many gradient steps as steps done in the environment
        during the rollout.
    :param action_noise: the action noise type (None by default), added to the action in [-1, 1] beside the noise of the
        policy
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``).
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Store each observation once; for Box observations and one-step returns, with
        ``replay_buffer_kwargs=dict(handle_timeout_termination=False)``: time limits then count as terminations
    :param n_steps: When n_step > 1, uses n-step return (with the NStepReplayBuffer) when updating the critics;
        for Box observations
    :param policy_delay: noise predictor and target critics are updated every ``policy_delay`` gradient steps, from the
        first one on
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see
        :class:`~sb3_qflex.dacer.policies.DACERPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param diffusion_steps: denoising steps T, at least 1; with 30 the authors saw gradients explode
    :param beta_schedule: noise schedule: "linear", "vp" or "cosine"; None for that of the preset, "vp" or "linear"
    :param beta_scale: factor of the linear schedule, in (0, 1]; None for that of the preset, 0.3 of "qflex"
    :param start_scale: standard deviation of the noise that chains start from, positive; None for that of the preset, 1
        or 0.5
    :param noise_scale: executed actions have normal noise of standard deviation ``noise_scale`` alpha on top, and are
        clamped to the box; at least 0. 0.15 in the paper for Humanoid
    :param init_alpha: alpha at first, positive. A loaded model goes on from its own; assigning it starts alpha anew
    :param alpha_lr: learning rate of log alpha, positive
    :param alpha_delay: alpha is updated every ``alpha_delay`` gradient steps, from the first one on
    :param target_entropy_scale: the target entropy is minus this many times |A|, at least 0
    :param entropy_samples: actions of each state of a batch that its entropy is estimated from, at least 2
    :param entropy_components: components of the Gaussian mixture of "gmm", at least 1
    :param entropy_estimator: "gmm" (a mixture of Gaussians with full covariances, as in the paper) or "diag" (variances
        of single coordinates); None for "gmm" up to 32 actuators and, with a warning, "diag" above
    :param max_grad_norm: norm that the gradient of the noise predictor is clipped to, positive; None for no clipping
    :param reward_scale: factor of the rewards that critics learn from, positive; logged returns have none
    :param policy_lr_end: learning rate of the noise predictor at last, at least 0; None for that of the preset: no
        change ("official") or 3e-5 ("qflex")
    :param policy_lr_begin: its updates before the rate begins to change, at least 0
    :param policy_lr_steps: its updates while the rate changes, at least 1
    :param preset: whose settings arguments have that are None: "official" (the authors' repository) or "qflex" (the
        comparison of the QFlex paper). It cannot change later; in ``load`` it replaces all that it stands for
    :param bad_states: See :class:`sb3_qflex.QFlex`
    :param divergence_factor: See :class:`sb3_qflex.QFlex`
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base = DACERPolicy
    presets = PRESETS
    target_networks = ("critic_target",)
    policy: DACERPolicy
    actor: NoisePredictor
    critic: ReturnCritics

    tau: float = options.number(maximum=1.0)
    policy_delay: int = options.count()
    entropy_samples: int = options.option(lambda model, _, value: check_samples(value, model.entropy_components))
    entropy_components: int = options.option(lambda model, _, value: check_components(value, model.entropy_samples))
    entropy_estimator: str | None = options.choice(ESTIMATORS)
    max_grad_norm: float | None = options.number(above=True, optional=True)
    reward_scale: float = options.number(above=True)
    policy_lr_end: float | None = options.number(optional=True)
    policy_lr_begin: int = options.count(minimum=0)
    policy_lr_steps: int = options.count()
    preset: str = options.preset(PRESETS)
    diffusion_steps: int = options.of_policy()
    beta_schedule: str = options.of_policy()
    beta_scale: float = options.of_policy()
    start_scale: float = options.of_policy()

    def __init__(
        self,
        policy: str | type[DACERPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule | None = None,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        policy_delay: int = 2,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        diffusion_steps: int = 20,
        beta_schedule: str | None = None,
        beta_scale: float | None = None,
        start_scale: float | None = None,
        noise_scale: float = 0.1,
        init_alpha: float = 3.0,
        alpha_lr: float = 3e-2,
        alpha_delay: int = 10_000,
        target_entropy_scale: float = 0.9,
        entropy_samples: int = 200,
        entropy_components: int = 3,
        entropy_estimator: str | None = None,
        max_grad_norm: float | None = None,
        reward_scale: float = 0.2,
        policy_lr_end: float | None = None,
        policy_lr_begin: int = 25_000,
        policy_lr_steps: int = 50_000,
        preset: str = "official",
        bad_states: str = "raise",
        divergence_factor: float | None = 100.0,
        **unknown: Never,
    ):
        name = type(self).__name__
        check_keywords(name, without_sde(name, unknown), type(self))
        given = {
            "learning_rate": learning_rate,
            "beta_schedule": beta_schedule,
            "beta_scale": beta_scale,
            "start_scale": start_scale,
            "policy_lr_end": policy_lr_end,
        }
        chosen = options.with_preset(PRESETS, preset, given)
        super().__init__(
            policy,
            env,
            chosen["learning_rate"],
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            action_noise=action_noise,
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
            bad_states=bad_states,
            divergence_factor=divergence_factor,
        )
        self.preset = preset
        vars(self).update(chosen)
        self.policy_delay = policy_delay
        self.diffusion_steps = diffusion_steps
        self.noise_scale = noise_scale
        self.init_alpha = init_alpha
        self.alpha_lr = alpha_lr
        self.alpha_delay = alpha_delay
        self.target_entropy_scale = target_entropy_scale
        self.entropy_samples = entropy_samples
        self.entropy_components = entropy_components
        self.entropy_estimator = entropy_estimator
        self.max_grad_norm = max_grad_norm
        self.reward_scale = reward_scale
        self.policy_lr_begin = policy_lr_begin
        self.policy_lr_steps = policy_lr_steps
        #: Updates of the noise predictor so far.
        self.n_policy_updates = 0
        #: The entropy that alpha's last update went by, in nats; None before the first one.
        self.entropy: float | None = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        validation.check_spaces(self.observation_space, self.action_space)
        self.entropy_estimator = choose_estimator(self.entropy_estimator, get_action_dim(self.action_space))
        super()._setup_model()

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update noise predictor, critics, target critics and alpha, in this order; the noise predictor and the critics
        see each other as they were before.

        :param batch: Transitions.
        """
        critic_loss, q_value = critic_objective(self.policy, batch, self.gamma, self.reward_scale)
        policy_is_due = self.is_due(self.policy_delay)
        if policy_is_due:
            self.update_policy(batch.observations)
        self.minimise(self.critic.optimizer, critic_loss, "critic")
        self.check_divergence(q_value, self.reward_scale * batch.rewards)
        self._training_log.means.add("q_value", q_value)
        if policy_is_due:
            self.policy.follow(self.tau)
        self.update_temperature(batch.observations)

    def update_policy(self, observations: PyTorchObs) -> None:
        """
        A step of the noise predictor with its own learning rate.

        :param observations: s.
        """
        rate = start = self.lr_schedule(self._current_progress_remaining)
        if self.policy_lr_end is not None:
            course = self.policy_lr_end, self.policy_lr_begin, self.policy_lr_steps
            rate = policy_learning_rate(self.n_policy_updates, start, *course)
        update_learning_rate(self.actor.optimizer, rate)
        loss = actor_objective(self.policy, observations)
        self.minimise(self.actor.optimizer, loss, "actor", self.max_grad_norm)
        self.n_policy_updates += 1

    def update_temperature(self, observations: PyTorchObs) -> None:
        """
        Log alpha and, where its step is due, estimate the entropy and take the step.

        :param observations: s.
        """
        self._training_log.means.add("alpha", self.temperature.alpha())
        if not self.is_due(self.alpha_delay):
            return
        entropy = self.estimate_entropy(observations)
        self.learn_temperature(entropy)
        self.entropy = entropy.item()
        self._training_log.means.add("entropy", entropy)

    def estimate_entropy(self, observations: PyTorchObs) -> th.Tensor:
        """
        Mean over states of the entropy of executed actions, by ``entropy_estimator``.

        :param observations: s.
        :return: In nats, a scalar constant.
        """
        samples = self.policy.several(observations, self.entropy_samples)
        if self.entropy_estimator == "diag":
            return diag_entropy(samples).mean().float()
        return gmm_entropy(samples, self.entropy_components).mean().float()
