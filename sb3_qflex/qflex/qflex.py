"""The QFlex algorithm inside Stable-Baselines3: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, ReplayBufferSamples, Schedule

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options
from sb3_qflex.common.entropy import EntropyRegularised
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.networks import Critics, SourceActor
from sb3_qflex.common.type_aliases import Bonus
from sb3_qflex.qflex.metrics import flow_diagnostics
from sb3_qflex.qflex.networks import VelocityField
from sb3_qflex.qflex.objectives import critic_objective, field_objective, source_objective
from sb3_qflex.qflex.options import BOOTSTRAPS
from sb3_qflex.qflex.policies import MlpPolicy, MultiInputPolicy, QFlexPolicy


class QFlex(EntropyRegularised, Algorithm):
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
        Set it to 'auto' to learn it automatically (and 'auto_0.1' for using 0.1 as initial value). A loaded model whose
        alpha is learned goes on from its own; assigning it starts alpha anew
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
    :param guidance_dtype: number type of the critics' weights and activations in those steps: "float32", or "bfloat16",
        faster with a rounding error of some hundredths of a(1) - a(0), where processor and networks allow it (a warning
        says where not). Actions stay float32, and so does everything that acts
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
    policy_base = QFlexPolicy
    optimizers = ("actor.optimizer", "critic.optimizer", "field.optimizer")
    policy: QFlexPolicy
    actor: SourceActor
    critic: Critics
    field: VelocityField

    policy_delay: int = options.count()
    bootstrap: str = options.choice(BOOTSTRAPS)
    flow_steps: int = options.of_policy()
    guidance_steps: int = options.of_policy()
    guidance_step_size: float = options.of_policy()
    guidance_dtype: str = options.of_policy()
    preconditioner: np.ndarray | list[float] | str | None = options.of_policy()
    exploration: str = options.of_policy()

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
        guidance_dtype: str = "float32",
        bootstrap: str = "source",
        preconditioner: np.ndarray | list[float] | str | None = None,
        exploration: str = "flow",
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
            tau=1.0,  # no target networks
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
        self.ent_coef = ent_coef
        self.target_entropy = target_entropy
        self.policy_delay = policy_delay
        self.flow_steps = flow_steps
        self.guidance_steps = guidance_steps
        self.guidance_step_size = guidance_step_size
        self.guidance_dtype = guidance_dtype
        self.bootstrap = bootstrap
        self.preconditioner = preconditioner
        self.exploration = exploration
        if _init_setup_model:
            self._setup_model()

    def smallest_batch(self) -> int:
        """Two with BatchRenorm, whose statistics one transition does not have."""
        return 2 if self.policy_kwargs.get("batch_norm", True) else 1

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update critics, source policy and velocity field, in this order.

        :param batch: Transitions.
        """
        ent_coef = self.temperature()
        bonus = self.bonus(batch.observations)
        critic_loss = critic_objective(self.policy, batch, self.gamma, self.bootstrap, ent_coef, bonus)
        self.minimise(self.critic.optimizer, critic_loss, "critic")
        if self._n_updates % self.policy_delay != 0:
            return
        source_loss, log_prob = source_objective(self.policy, batch.observations, ent_coef, bonus)
        self.minimise(self.actor.optimizer, source_loss, "actor")
        self.check_divergence(source_loss, batch.rewards, ent_coef)
        self.update_temperature(ent_coef, log_prob)
        if self.exploration == "flow" or self.bootstrap == "flow":
            self.minimise(self.field.optimizer, field_objective(self.policy, batch.next_observations), "flow")

    def bonus(self, observations: PyTorchObs) -> Bonus | None:
        """
        What joins Q in this update, in the critics' target and in the source policy's loss; None for nothing.

        :param observations: s of the batch.
        """
        return None

    def diagnostics(self, observations: PyTorchObs) -> dict[str, float]:
        """
        How exploration and guidance move source actions, see :func:`sb3_qflex.qflex.metrics.flow_diagnostics`.

        :param observations: Of the last batch.
        """
        return flow_diagnostics(self.policy, observations)
