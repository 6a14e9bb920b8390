"""Soft Actor-Critic: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, ReplayBufferSamples, Schedule
from stable_baselines3.sac.policies import Actor

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options
from sb3_qflex.common.entropy import EntropyRegularised
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.networks import follow
from sb3_qflex.common.policies import train_mode
from sb3_qflex.common.type_aliases import Bonus
from sb3_qflex.sac.objectives import actor_objective, bellman_target, critic_objective
from sb3_qflex.sac.policies import MlpPolicy, MultiInputPolicy, SACPolicy


class SAC(EntropyRegularised, Algorithm):
    """
    Soft Actor-Critic (SAC), step by step SB3's, on the base that all algorithms here have: guards, checkpoints and
    exports.
    Paper: https://arxiv.org/abs/1801.01290

    It is the control for its subclasses: the same seed and the same transitions give SB3's parameters and actions. It
    has no name in RL Zoo, where ``sac`` stays SB3's. Differences to SB3's: no gSDE and no images; and
    ``target_update_interval`` counts all updates of the model, where SB3 counts anew in each ``train``, so that there
    it has no effect while ``gradient_steps`` is 1.

    A subclass changes the actor in its policy (:meth:`SACPolicy.make_actor`), what Q is joined by (:meth:`bonus`), or
    what comes after a step (:meth:`gradient_step`).

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of SACPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for the optimizers of all networks;
        it can be a function of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer, which is allocated by the first ``learn`` or ``load_replay_buffer``
    :param learning_starts: how many steps of the model to collect transitions for before learning starts, with random
        actions. A trained model that goes on without its replay buffer collects as many with its own policy
    :param batch_size: Minibatch size for each gradient update
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1)
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
    :param ent_coef: Entropy regularization coefficient alpha.
        Set it to 'auto' to learn it automatically (and 'auto_0.1' for using 0.1 as initial value). A loaded model whose
        alpha is learned goes on from its own; assigning it starts alpha anew
    :param target_update_interval: update the target critics every ``target_update_interval`` gradient steps
    :param target_entropy: target entropy when learning ``ent_coef`` (``ent_coef = 'auto'``), by default -|A|
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see
        :class:`sb3_qflex.sac.policies.SACPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param bad_states: See :class:`sb3_qflex.QFlex`
    :param divergence_factor: See :class:`sb3_qflex.QFlex`
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base = SACPolicy
    target_networks = ("critic_target",)
    policy: SACPolicy
    actor: Actor
    critic: ContinuousCritic
    critic_target: ContinuousCritic

    tau: float = options.number(maximum=1.0)
    target_update_interval: int = options.count()

    def __init__(
        self,
        policy: str | type[SACPolicy],
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
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float = "auto",
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
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
        self.ent_coef = ent_coef
        self.target_entropy = target_entropy
        self.target_update_interval = target_update_interval
        if _init_setup_model:
            self._setup_model()

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update alpha, critics, actor and target critics, in this order; all see alpha as it was before.

        :param batch: Transitions.
        """
        with train_mode(self.policy):
            ent_coef = self.temperature()
            actions, log_prob = self.actor.action_log_prob(batch.observations)
            self.update_temperature(ent_coef, log_prob)
            bonus = self.bonus(batch.observations, actions)
            target = bellman_target(self.actor, self.critic_target, batch, self.gamma, ent_coef, bonus)
            self.minimise(self.critic.optimizer, critic_objective(self.critic, batch, target), "critic")
            loss = actor_objective(self.critic, batch.observations, actions, log_prob, ent_coef, bonus)
            self.minimise(self.actor.optimizer, loss, "actor")
        self.check_divergence(loss, batch.rewards, ent_coef)
        if self.is_due(self.target_update_interval):
            self.update_targets()

    def bonus(self, observations: PyTorchObs, actions: th.Tensor) -> Bonus | None:
        """
        What joins Q in this update, in the target and in the actor's loss; None for nothing.

        A subclass that learns something for it does so here, between alpha's step and that of the critics.

        :param observations: s of the batch.
        :param actions: a ~ pi(s), with their graph.
        """
        return None

    def update_targets(self) -> None:
        """Move the target critics towards the critics; statistics of their layers are copied."""
        follow(self.critic_target, self.critic, self.tau)
