"""The QSM algorithm inside Stable-Baselines3: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import update_learning_rate

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options
from sb3_qflex.common.diffusion import policy_learning_rate
from sb3_qflex.common.diffusion_objectives import critic_objective
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.networks import Critics
from sb3_qflex.qsm.objectives import actor_objective
from sb3_qflex.qsm.options import PRESETS, filled
from sb3_qflex.qsm.policies import MlpPolicy, MultiInputPolicy, QSMPolicy


class QSM(Algorithm):
    """
    Q-Score Matching (QSM): a network learns the gradient of Q by the action, and actions follow it from noise.
    Paper: https://arxiv.org/abs/2312.11752 (ICML 2024)

    Two algorithms bear the name. ``variant="ddpm"`` is the paper's: a noise predictor of few denoising steps that is
    fitted to -M_q grad Q at every noise level. ``variant="langevin"`` is what the authors of QFlex compare with: a
    score without time, fitted to grad Q, that Langevin steps follow, with the best of N particles by Q.

    Arguments that are None are filled in by the variant, and the variant by the preset; what was filled in is saved.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of QSMPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for the optimizers of all networks, for the actor at first;
        it can be a function of the current progress remaining (from 1 to 0)
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
    :param action_noise: the action noise type (None by default), added to the action in [-1, 1], on top of
        ``action_noise_std``
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``).
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Store each observation once; for Box observations and one-step returns, with
        ``replay_buffer_kwargs=dict(handle_timeout_termination=False)``: time limits then count as terminations
    :param n_steps: When n_step > 1, uses n-step return (with the NStepReplayBuffer) when updating the critics;
        for Box observations
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see
        :class:`sb3_qflex.qsm.policies.QSMPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param preset: "official" (variant "ddpm") or "qflex" (variant "langevin"); cannot change later
    :param variant: "ddpm" or "langevin"; cannot change later, as the networks are made for it
    :param diffusion_steps: Steps T of the chain, by default 5 (ddpm) or 20 (langevin)
    :param n_particles: Chains of each state, of which the one with the largest min Q is executed, in the targets too;
        by default 1 (ddpm) or 32 (langevin)
    :param action_noise_std: Standard deviation of the noise on executed actions, in the targets too; by default 0.1
        (ddpm) or 0 (langevin)
    :param sampling_dtype: Number type of the actor's products in chains with drawn noise, see
        :class:`sb3_qflex.SDAC`
    :param q_grad_scale: M_q of "ddpm": the larger, the nearer the policy is to the sign of the gradient. 120 in the
        paper for humanoid and quadruped; tune it with the scale of the rewards
    :param time_dim: Cosines and sines of the embedding of time of "ddpm", an even number; cannot change later
    :param policy_lr_end: Learning rate of the actor at last, by default 0 (ddpm) or 3e-5 (langevin)
    :param policy_lr_begin: Updates of the actor before its learning rate changes, by default 0 (ddpm) or 25 000
    :param actor_lr_decay_steps: Updates within which it then goes to ``policy_lr_end``, by default 2 000 000 along a
        cosine (ddpm) or 50 000 along a line (langevin)
    :param bad_states: See :class:`sb3_qflex.QFlex`
    :param divergence_factor: See :class:`sb3_qflex.QFlex`
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base = QSMPolicy
    of_file = ("preset", "variant", "time_dim")
    target_networks = ("critic_target",)
    policy: QSMPolicy
    actor: Any
    critic: Critics
    critic_target: Critics

    preset: str = options.preset(PRESETS)
    tau: float = options.number(maximum=1.0)
    variant: str = options.of_policy()
    diffusion_steps: int = options.of_policy()
    n_particles: int = options.of_policy()
    action_noise_std: float = options.of_policy()
    sampling_dtype: str = options.of_policy()
    time_dim: int = options.of_policy()
    q_grad_scale: float = options.number(above=True)
    policy_lr_end: float = options.number()
    policy_lr_begin: int = options.count(minimum=0)
    actor_lr_decay_steps: int = options.count()

    def __init__(
        self,
        policy: str | type[QSMPolicy],
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
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        preset: str = "official",
        variant: str | None = None,
        diffusion_steps: int | None = None,
        n_particles: int | None = None,
        action_noise_std: float | None = None,
        sampling_dtype: str = "float32",
        q_grad_scale: float = 50.0,
        time_dim: int = 64,
        policy_lr_end: float | None = None,
        policy_lr_begin: int | None = None,
        actor_lr_decay_steps: int | None = None,
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
        given = {
            "variant": variant,
            "diffusion_steps": diffusion_steps,
            "n_particles": n_particles,
            "action_noise_std": action_noise_std,
            "policy_lr_end": policy_lr_end,
            "policy_lr_begin": policy_lr_begin,
            "actor_lr_decay_steps": actor_lr_decay_steps,
        }
        vars(self).update(filled(preset, given))
        self.preset = preset
        self.sampling_dtype = sampling_dtype
        self.q_grad_scale = q_grad_scale
        self.time_dim = time_dim
        #: Updates of the actor so far.
        self.n_policy_updates = 0
        if _init_setup_model:
            self._setup_model()

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update critics, target critics and actor, in this order.

        :param batch: Transitions.
        """
        next_actions = self.policy.explore(batch.next_observations)
        critic_loss, q_value = critic_objective(self.policy, batch, next_actions, self.gamma)
        self.minimise(self.critic.optimizer, critic_loss, "critic")
        self.check_divergence(q_value, batch.rewards)
        self._training_log.means.add("q_value", q_value)
        self.policy.follow(self.tau)
        update_learning_rate(self.actor.optimizer, self.policy_learning_rate())
        self.minimise(self.actor.optimizer, actor_objective(self.policy, batch, self.q_grad_scale), "actor")
        self.n_policy_updates += 1

    def policy_learning_rate(self) -> float:
        """Learning rate of the actor's next update: along a cosine for "ddpm", along a line for "langevin"."""
        return policy_learning_rate(
            self.n_policy_updates,
            self.lr_schedule(self._current_progress_remaining),
            self.policy_lr_end,
            self.policy_lr_begin,
            self.actor_lr_decay_steps,
            cosine=self.variant == "ddpm",
        )
