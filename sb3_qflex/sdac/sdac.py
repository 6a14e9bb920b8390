"""Soft Diffusion Actor-Critic: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import update_learning_rate

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options, validation
from sb3_qflex.common.diffusion import policy_learning_rate
from sb3_qflex.common.diffusion_networks import NoisePredictor
from sb3_qflex.common.diffusion_objectives import critic_objective
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.networks import Critics
from sb3_qflex.common.tempered import Tempered
from sb3_qflex.sdac.objectives import (
    DenoisingGoal,
    denoising_objective,
    noise_entropy,
    reverse_goal,
)
from sb3_qflex.sdac.options import PRESETS
from sb3_qflex.sdac.policies import MlpPolicy, MultiInputPolicy, SDACPolicy


class SDAC(Tempered, Algorithm):
    """
    Soft Diffusion Actor-Critic (SDAC): a diffusion policy learns to denoise towards actions drawn from its reverse
    kernel and weighted by exp(Q), without a gradient through its chain.
    Paper: https://arxiv.org/abs/2502.00361 (ICML 2025)

    The defaults are those of the authors' repository, whose regime for MuJoCo is 5 environments with ``train_freq=1``,
    ``gradient_steps=1`` and ``learning_starts=30_000``. alpha falls on a fixed course of 2e5 updates, see
    ``alpha_delay``.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of SDACPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate of critics and, at first, of the noise predictor;
        it can be a function of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer, which is allocated by the first ``learn`` or ``load_replay_buffer``
    :param learning_starts: how many steps of the model to collect transitions for before learning starts, with random
        actions. A trained model that goes on without its replay buffer collects as many with its own policy
    :param batch_size: Minibatch size for each gradient update
    :param tau: share by which the slow copies of critics and noise predictor follow at each policy update
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
    :param policy_delay: noise predictor and slow copies are updated every ``policy_delay`` gradient steps, from the
        first one on
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see
        :class:`~sb3_qflex.sdac.policies.SDACPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param n_particles: chains N of each state; the action with the largest min Q is taken. 1 asks no critic
    :param sampling_dtype: number type of the noise predictor's products in chains with drawn noise, which are those of
        training: "float32", or "bfloat16", faster with a rounding error, where processor and networks allow it (a
        warning says where not). Deterministic actions, critics and what is trained stay float32
    :param diffusion_steps: denoising steps T, at least 1
    :param beta_schedule: noise schedule: "linear", "vp" or "cosine"
    :param beta_scale: factor of the linear schedule, in (0, 1]
    :param noise_scale: executed actions have normal noise of standard deviation ``noise_scale`` alpha on top, and are
        clamped to the box; at least 0
    :param clip_actions: False leaves the sum of chain and noise as it is in buffer, target and loss, which the
        authors' code does; the environment gets it clamped to the box in any case
    :param init_alpha: alpha at first, positive. A loaded model goes on from its own; assigning it starts alpha anew
    :param alpha_lr: learning rate of log alpha; None for that of the preset, 7e-3 or 3e-4
    :param alpha_delay: alpha is updated every ``alpha_delay`` gradient steps, from the first one on. Its entropy is
        that of noise alone, so that it falls from 5 to 0.98 in 800 of its steps whatever the policy does
    :param target_entropy_scale: the target entropy of alpha is minus this many times |A|, at least 0
    :param reverse_samples: draws M of the reverse kernel for each state, at least 1
    :param reward_scale: factor of the rewards that critics learn from, positive; logged returns have none
    :param policy_lr_end: learning rate of the noise predictor at last, at least 0
    :param policy_lr_begin: its updates before the rate begins to fall, at least 0
    :param policy_lr_steps: its updates while the rate falls, at least 1
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
    policy_base = SDACPolicy
    presets = PRESETS
    target_networks = ("actor_target", "critic_target")
    policy: SDACPolicy
    actor: NoisePredictor
    critic: Critics
    #: Steps of the critics' optimizer on each gradient.
    critic_steps: int = 1

    tau: float = options.number(maximum=1.0)
    policy_delay: int = options.count()
    reverse_samples: int = options.count()
    reward_scale: float = options.number(above=True)
    policy_lr_end: float = options.number()
    policy_lr_begin: int = options.count(minimum=0)
    policy_lr_steps: int = options.count()
    preset: str = options.preset(PRESETS)
    n_particles: int = options.of_policy()
    sampling_dtype: str = options.of_policy()
    diffusion_steps: int = options.of_policy()
    beta_schedule: str = options.of_policy()
    beta_scale: float = options.of_policy()
    clip_actions: bool = options.of_policy()

    def __init__(
        self,
        policy: str | type[SDACPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
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
        n_particles: int = 32,
        sampling_dtype: str = "float32",
        diffusion_steps: int = 20,
        beta_schedule: str = "linear",
        beta_scale: float = 0.8,
        noise_scale: float = 0.1,
        clip_actions: bool = True,
        init_alpha: float = 5.0,
        alpha_lr: float | None = None,
        alpha_delay: int = 250,
        target_entropy_scale: float = 0.9,
        reverse_samples: int = 64,
        reward_scale: float = 0.2,
        policy_lr_end: float = 3e-5,
        policy_lr_begin: int = 25_000,
        policy_lr_steps: int = 50_000,
        preset: str = "official",
        bad_states: str = "raise",
        divergence_factor: float | None = 100.0,
        **unknown: Never,
    ):
        name = type(self).__name__
        check_keywords(name, without_sde(name, unknown), type(self))
        super().__init__(
            policy,
            env,
            learning_rate,
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
        vars(self).update(options.with_preset(PRESETS, preset, {"alpha_lr": alpha_lr}))
        self.policy_delay = policy_delay
        self.n_particles = n_particles
        self.sampling_dtype = sampling_dtype
        self.diffusion_steps = diffusion_steps
        self.beta_schedule = beta_schedule
        self.beta_scale = beta_scale
        self.noise_scale = noise_scale
        self.clip_actions = clip_actions
        self.init_alpha = init_alpha
        self.alpha_delay = alpha_delay
        self.target_entropy_scale = target_entropy_scale
        self.reverse_samples = reverse_samples
        self.reward_scale = reward_scale
        self.policy_lr_end = policy_lr_end
        self.policy_lr_begin = policy_lr_begin
        self.policy_lr_steps = policy_lr_steps
        #: Updates of the noise predictor so far.
        self.n_policy_updates = 0
        if _init_setup_model:
            self._setup_model()

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        is_random = self._n_updates == 0 and self.num_timesteps < learning_starts
        if self.clip_actions or is_random:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        assert self._last_obs is not None  # _setup_learn saw to it
        validation.check_finite_observation(self._last_obs, self.observation_space)
        with th.no_grad():
            drawn = self.policy(self.policy.obs_to_tensor(self._last_obs)[0]).cpu().numpy()
        stored = drawn.reshape(n_envs, *self.action_space.shape)  # type: ignore[misc]
        if action_noise is not None:
            stored = (stored + action_noise()).astype(np.float32)
        return self.policy.unscale_action(stored), stored

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update critics, noise predictor with the slow copies, and alpha, in this order.

        :param batch: Transitions.
        """
        next_actions = self.policy.explore(batch.next_observations)
        goal = None
        if self.is_due(self.policy_delay):
            # With the critics as they are before their step.
            alpha = self.temperature.alpha()
            goal, ess = reverse_goal(self.policy, batch.observations, self.reverse_samples, alpha)
            self._training_log.means.add("ess", ess)
        self.update_critics(batch, next_actions)
        if goal is not None:
            self.update_policy(goal)
        self.update_temperature()

    def update_critics(self, batch: ReplayBufferSamples, next_actions: th.Tensor) -> None:
        """
        :param batch: Transitions.
        :param next_actions: a', shape (B, |A|).
        """
        loss, q_value = critic_objective(self.policy, batch, next_actions, self.gamma, self.reward_scale)
        self.minimise(self.critic.optimizer, loss, "critic", n_steps=self.critic_steps)
        self.check_divergence(q_value, self.reward_scale * batch.rewards)
        self._training_log.means.add("q_value", q_value)

    def update_policy(self, goal: DenoisingGoal) -> None:
        """
        A step of the noise predictor with its own learning rate, and of the slow copies.

        :param goal: What to learn.
        """
        rate = policy_learning_rate(
            self.n_policy_updates,
            self.lr_schedule(self._current_progress_remaining),
            self.policy_lr_end,
            self.policy_lr_begin,
            self.policy_lr_steps,
        )
        update_learning_rate(self.actor.optimizer, rate)
        self.minimise(self.actor.optimizer, denoising_objective(self.policy, goal), "actor")
        self.n_policy_updates += 1
        self.policy.follow(self.tau)

    def update_temperature(self) -> None:
        """Log alpha, and take its step where it is due."""
        alpha = self.temperature.alpha()
        self._training_log.means.add("alpha", alpha)
        if self.is_due(self.alpha_delay):
            self.learn_temperature(noise_entropy(alpha, self.policy.action_dim))
