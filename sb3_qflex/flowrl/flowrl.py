"""FlowRL: what it is made of, and in which order its steps run."""

from typing import Any, ClassVar, Never

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, ReplayBufferSamples, Schedule

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.replay_recent import DictRecentReplayBuffer, RecentAges, RecentReplayBuffer
from sb3_qflex.flowrl.networks import FlowActor, StateValue, ValueNetworks
from sb3_qflex.flowrl.objectives import (
    Matching,
    actor_objective,
    buffer_critic_objective,
    critic_objective,
    value_objective,
)
from sb3_qflex.flowrl.options import CFM_SPACES, CFM_WEIGHTINGS, PRESETS, check_clip
from sb3_qflex.flowrl.policies import FlowRLPolicy, MlpPolicy, MultiInputPolicy

_RECENCY = ("recent_size", "recent_fraction")


class FlowRL(Algorithm):
    """
    FlowRL: a one-step flow policy ascends Q, while a flow-matching term, weighted by how much better the replay's
    action is than the policy's, ties it to the best behaviour in the replay.
    Paper: https://arxiv.org/abs/2506.12811 (NeurIPS 2025)

    The defaults are the paper's. Its flow-matching term has a fixed weight beside -Q: scale rewards accordingly.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of FlowRLPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for the optimizers of all networks;
        it can be a function of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer, which is allocated by the first ``learn`` or ``load_replay_buffer``
    :param learning_starts: how many steps of the model to collect transitions for before learning starts, with random
        actions. A trained model that goes on without its replay buffer collects as many with its own policy
    :param batch_size: Minibatch size for each gradient update
    :param tau: Share of the critics in their targets after each of their updates, in [0, 1]. 0.95 is the paper's: the
        target is nearly a copy
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency and unit
        like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many gradient steps as steps done in the environment
        during the rollout.
    :param action_noise: the action noise type (None by default), added to the action in [-1, 1]
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``, which draws without regard
        to age). If ``None``, :class:`sb3_qflex.RecentReplayBuffer`, or its form for Dict observations.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: As in SB3; only with ``replay_buffer_class=ReplayBuffer``
    :param n_steps: When n_step > 1, uses n-step return when updating both pairs of critics; for Box observations
    :param policy_delay: The policy and both targets are updated every ``policy_delay`` gradient steps
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see :class:`FlowRLPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param flow_steps: Midpoint steps of the flow, at least 1
    :param expectile: tau_e of V, in (0, 1]; the authors advise 0.8 for humanoids
    :param cfm_weight: lambda, the weight of the flow-matching term where no action of the replay stands out; at least 0
    :param cfm_clip: Smallest and largest weight of a sample
    :param cfm_weighting: "sample": each sample's weight times its own error (the paper). "batch": the product of their
        batch means (the authors' code)
    :param cfm_space: What the flow is to reach for an action of the replay: the "action" in [-1, 1]; its "latent",
        atanh of it; or the action in the units of the "box" (the authors' code). The policy ends with a tanh, so that
        only with "latent" both have the same optimum
    :param recent_fraction: Share of each batch from the latest transitions alone, in [0, 1], where the replay buffer
        is the default one
    :param recent_size: How many transitions over all environments are the latest, at least 1
    :param preset: What ``cfm_weighting`` and ``cfm_space`` are where they are None: "official" for "sample" and
        "action", "code" for "batch" and "box". What was filled in is saved; it cannot change later
    :param bad_states: See :class:`sb3_qflex.QFlex`
    :param divergence_factor: See :class:`sb3_qflex.QFlex`
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base = FlowRLPolicy
    presets = PRESETS
    optimizers = ("actor.optimizer", "critic.optimizer", "buffer_critic.optimizer", "value.optimizer")
    target_networks = ("critic_target", "buffer_critic_target")
    policy: FlowRLPolicy
    actor: FlowActor
    critic: ValueNetworks
    critic_target: ValueNetworks
    buffer_critic: ValueNetworks
    buffer_critic_target: ValueNetworks
    value: StateValue

    tau: float = options.number(maximum=1.0)
    policy_delay: int = options.count()
    flow_steps: int = options.of_policy()
    expectile: float = options.number(maximum=1.0, above=True)
    preset: str = options.preset(PRESETS)
    cfm_weight: float = options.number()
    cfm_clip: tuple[float, float] = options.option(lambda _, __, value: check_clip(value))
    cfm_weighting: str = options.choice(CFM_WEIGHTINGS)
    cfm_space: str = options.choice(CFM_SPACES)
    recent_fraction: float = options.number(maximum=1.0)
    recent_size: int = options.count()

    def __init__(
        self,
        policy: str | type[FlowRLPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 5000,
        batch_size: int = 256,
        tau: float = 0.95,
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
        flow_steps: int = 1,
        expectile: float = 0.9,
        cfm_weight: float = 0.1,
        cfm_clip: tuple[float, float] = (1e-3, 1.0),
        cfm_weighting: str | None = None,
        cfm_space: str | None = None,
        recent_fraction: float = 0.2,
        recent_size: int = 2048,
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
        filled = options.with_preset(PRESETS, preset, {"cfm_weighting": cfm_weighting, "cfm_space": cfm_space})
        self.cfm_weighting, self.cfm_space = filled["cfm_weighting"], filled["cfm_space"]
        self.policy_delay = policy_delay
        self.flow_steps = flow_steps
        self.expectile = expectile
        self.cfm_weight = cfm_weight
        self.cfm_clip = cfm_clip
        self.recent_fraction = recent_fraction
        self.recent_size = recent_size
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if self.replay_buffer_class is None:
            is_dict = isinstance(self.observation_space, spaces.Dict)
            self.replay_buffer_class = DictRecentReplayBuffer if is_dict else RecentReplayBuffer
        for name in _RECENCY:
            if name in self.replay_buffer_kwargs:
                raise ValueError(f"Pass {name} to {type(self).__name__} itself, not in replay_buffer_kwargs.")
        super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        # Here, since options may have been assigned and the buffer loaded.
        if isinstance(self.replay_buffer, RecentAges):
            for name in _RECENCY:
                setattr(self.replay_buffer, name, getattr(self, name))
        super().train(gradient_steps, batch_size)

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update Q, Q^buf, V and, every ``policy_delay`` steps, the flow and then both targets, in this order.

        :param batch: Transitions.
        """
        policy = self.policy
        self.minimise(self.critic.optimizer, critic_objective(policy, batch, self.gamma), "critic")
        loss, buffer_q = buffer_critic_objective(policy, batch, self.gamma)
        self.minimise(self.buffer_critic.optimizer, loss, "buffer_critic")
        self.minimise(self.value.optimizer, value_objective(policy, batch, self.expectile), "value")
        if self._n_updates % self.policy_delay != 0:
            return
        low, high = self.cfm_clip
        matching = Matching(self.cfm_weight, (low, high), self.cfm_weighting, self.cfm_space)
        actor = actor_objective(policy, batch, buffer_q, matching)
        self.minimise(self.actor.optimizer, actor.loss, "actor")
        self.check_divergence(actor.policy_q, batch.rewards)
        for name, value in (("cfm_loss", actor.error), ("cfm_weight", actor.weight)):
            self._training_log.means.add(name, value)
        policy.update_targets(self.tau)

    @th.no_grad()
    def diagnostics(self, observations: PyTorchObs) -> dict[str, float]:
        """
        Values of what acts without noise, and of the best behaviour in the replay.

        :param observations: Of the last batch.
        """
        actions = self.policy(observations, deterministic=True)
        values = {"q_policy": self.critic.min_q(observations, actions), "v_buffer": self.value(observations)}
        return {name: value.mean().item() for name, value in values.items()}
