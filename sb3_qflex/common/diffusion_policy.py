"""What policies have in common that act by a chain of denoising steps: networks, slow copies, particles, best of N."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_qflex.common import options, validation
from sb3_qflex.common.diffusion import (
    NoiseAt,
    NoiseSchedule,
    best_of,
    betas,
    fixed_noise,
    posterior_chain,
    repeat_rows,
)
from sb3_qflex.common.diffusion_networks import NoisePredictor
from sb3_qflex.common.fast.denoising import blocks, has_fast_form, hoisted_noise, hoisted_values
from sb3_qflex.common.fast.rounding import DTYPES, is_fast, warn_float32
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import Critics, follow
from sb3_qflex.common.policies import Policy

DEFAULT_NET_ARCH = [256, 256, 256]
#: Names of the networks in ``net_arch``.
NETWORKS = ("pi", "qf")


def _check_schedule(policy: Any, **given: Any) -> None:
    used = {name: getattr(policy, name) for name in ("beta_schedule", "diffusion_steps", "beta_scale")} | given
    betas(used["beta_schedule"], used["diffusion_steps"], used["beta_scale"])


def _schedule_option() -> Any:
    return options.option(
        lambda policy, name, value: _check_schedule(policy, **{name: value}), lambda policy, _: policy.set_schedule()
    )


class DiffusionPolicyBase(Policy):
    """
    Noise predictor ``actor``, critics ``critic`` without BatchRenorm, and copies ``<name>_target`` that follow slowly.

    A subclass ends its constructor with ``options.check_options(self)``, says in :attr:`followed` which networks have
    such copies, and overrides :meth:`exploration_std` for noise on executed actions, and :meth:`chain`,
    :attr:`n_noises`, :meth:`noise_at`, :meth:`make_actor` or :meth:`make_critic` for other chains or networks.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param net_arch: Hidden layers of all networks, or a dict with ``pi`` (noise predictor) and ``qf`` (critics). Three
        layers of 256 units where it does not say.
    :param activation_fn: Activation function. With others than Mish and ReLU, chains take the slower plain form.
    :param features_extractor_class: Features extractor to use; by default CombinedExtractor for Dict observations and
        FlattenExtractor for others.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Kept for SB3's interface; images are refused.
    :param optimizer_class: The optimizer to use.
    :param optimizer_kwargs: Its arguments but the learning rate.
    :param n_critics: Number of critics, at least 1.
    :param diffusion_steps: Denoising steps T, at least 1.
    :param beta_schedule: Noise schedule: "linear", "vp" or "cosine".
    :param beta_scale: Factor of the linear schedule, in (0, 1].
    :param n_particles: Chains N of each state, of which the one with the largest min Q is executed; at least 1.
    :param sampling_dtype: Number type of the noise predictor's products in chains whose noise is drawn, which are those
        of training: "float32", or "bfloat16" where processor and networks allow it (a warning says where not).
        Deterministic actions, critics and what is trained stay float32.
    """

    #: Networks that have a slow copy; that of ``actor``, if there is one, is what acts.
    followed: ClassVar[tuple[str, ...]] = ("critic",)
    #: s0, standard deviation of x_T.
    start_scale: ClassVar[float] = 0.5

    actor: NoisePredictor
    critic: Critics
    critic_target: Critics
    schedule: NoiseSchedule

    diffusion_steps: int = _schedule_option()
    beta_schedule: str = _schedule_option()
    beta_scale: float = _schedule_option()
    n_particles: int = options.count()
    sampling_dtype: str = options.choice(DTYPES)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.Mish,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        *,
        diffusion_steps: int = 20,
        beta_schedule: str = "linear",
        beta_scale: float = 1.0,
        n_particles: int = 1,
        sampling_dtype: str = "float32",
    ):
        validation.check_count("n_critics", n_critics)
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            normalize_images=normalize_images,
        )
        self.net_arch = DEFAULT_NET_ARCH if net_arch is None else net_arch
        self.activation_fn = activation_fn
        self.n_critics = n_critics
        self.diffusion_steps = diffusion_steps
        self.beta_schedule = beta_schedule
        self.beta_scale = beta_scale
        self.n_particles = n_particles
        self.sampling_dtype = sampling_dtype
        self._fixed_noise: th.Tensor | None = None
        self.schedule = NoiseSchedule(beta_schedule, diffusion_steps, beta_scale)
        self._build(lr_schedule, validation.net_archs(net_arch, DEFAULT_NET_ARCH, NETWORKS))

    def _build(self, lr_schedule: Schedule, archs: dict[str, list[int]]) -> None:
        self.actor = self.make_actor(**self.network_arguments(net_arch=archs["pi"], activation_fn=self.activation_fn))
        self.critic = self.make_critic(
            **self.network_arguments(net_arch=archs["qf"], activation_fn=self.activation_fn, n_critics=self.n_critics)
        )
        for name in self.followed:
            setattr(self, f"{name}_target", deepcopy(getattr(self, name)).requires_grad_(False))
        for network in (self.actor, self.critic):
            network.optimizer = self.new_optimizer(network.parameters(), lr_schedule)
        self.set_training_mode(False)

    def make_actor(self, **kwargs: Any) -> NoisePredictor:
        """
        :param kwargs: Of :class:`NoisePredictor`.
        """
        return NoisePredictor(**kwargs)

    def make_critic(self, **kwargs: Any) -> Critics:
        """
        :param kwargs: Of :class:`Critics`.
        """
        return Critics(**kwargs)

    def set_schedule(self) -> None:
        """Take the noise schedule that the options say."""
        self.schedule = NoiseSchedule(self.beta_schedule, self.diffusion_steps, self.beta_scale).to(self.device)

    def follow(self, tau: float) -> None:
        """
        Move the slow copies a step towards their networks.

        :param tau: Share of the way, in [0, 1].
        """
        for name in self.followed:
            follow(getattr(self, f"{name}_target"), getattr(self, name), tau)

    # --- Acting: noise -> N chains -> best of N -> noise on top ---

    @property
    def behaviour(self) -> NoisePredictor:
        """The noise predictor that acts: the slow copy where there is one."""
        return getattr(self, "actor_target", self.actor)

    def exploration_std(self) -> th.Tensor | float:
        """Standard deviation of the noise that executed actions have on top of the chain's; a number or a scalar."""
        return 0.0

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        if deterministic:
            return self._sample(observation, self.behaviour, self.fixed_noise())
        return self._explore(self._sample(observation, self.behaviour, None))

    def explore(self, obs: PyTorchObs, actor: NoisePredictor | None = None) -> th.Tensor:
        """
        An action as it is executed while training: best of N chains, noise on top, clamped to the box.

        :param obs: Observations.
        :param actor: The noise predictor; by default the online one.
        :return: Shape (B, |A|), in [-1, 1], a constant.
        """
        with th.no_grad():
            return self._explore(self._sample(obs, actor or self.actor, None))

    def _explore(self, actions: th.Tensor) -> th.Tensor:
        return self._noisy(actions).clamp(-1.0, 1.0)

    def _noisy(self, actions: th.Tensor) -> th.Tensor:
        return actions + self.exploration_std() * th.randn_like(actions)

    def sample(self, obs: PyTorchObs, actor: NoisePredictor | None = None, noise: th.Tensor | None = None) -> th.Tensor:
        """
        Best of N chains of each state by the online critics, without noise on top.

        :param obs: Observations.
        :param actor: The noise predictor; by default the online one.
        :param noise: That of the chains, (T, B, N, |A|), or (T, 1, N, |A|) for the same in all states; None to draw it.
        :return: Shape (B, |A|), in [-1, 1], a constant.
        """
        with th.no_grad():
            return self._sample(obs, actor or self.actor, noise)

    def _sample(self, obs: PyTorchObs, actor: NoisePredictor, noise: th.Tensor | None) -> th.Tensor:
        features = actor.encode(obs)
        # One particle needs no critic.
        critic_features = self.critic.encode(obs) if self.n_particles > 1 else features
        chosen = []
        for part in self._parts(len(features), self.n_particles):
            own = noise if noise is None or noise.shape[1] == 1 else noise[:, part]
            actions = self._particles(actor, features[part], own)
            if self.n_particles > 1:
                chosen.append(best_of(actions, self._values(critic_features[part], actions)))
            else:
                chosen.append(actions.squeeze(1))
        return th.cat(chosen)

    def _parts(self, n_states: int, n_actions: int) -> Iterator[slice]:
        """States by blocks that the caches of a CPU hold; all at once elsewhere."""
        return blocks(n_states, n_actions) if self.device.type == "cpu" else iter([slice(0, n_states)])

    def _particles(self, actor: NoisePredictor, features: th.Tensor, noise: th.Tensor | None) -> th.Tensor:
        shape = len(features), self.n_particles, self.action_dim
        dtype = "float32"
        if noise is None:
            noise = th.randn(self.n_noises, *shape, device=features.device, dtype=features.dtype)
            dtype = self.sampling_dtype
        rows = noise.to(features).expand(-1, *shape).flatten(1, 2)
        return self.chain(self.noise_at(actor, features, self.n_particles, dtype), rows).view(shape)

    @property
    def n_noises(self) -> int:
        """Standard normal numbers that :meth:`chain` takes for each coordinate."""
        return self.diffusion_steps

    def chain(self, eps_hat: NoiseAt, noise: th.Tensor) -> th.Tensor:
        """
        From noise to actions.

        :param eps_hat: Noise predictor at the states at hand.
        :param noise: Standard normal, shape (T, R, |A|).
        :return: Shape (R, |A|), in [-1, 1].
        """
        return posterior_chain(eps_hat, noise, self.schedule, self.start_scale)

    def fixed_noise(self) -> th.Tensor:
        """The noise of deterministic actions, (T, 1, N, |A|): the same for every state."""
        shape = self.n_noises, 1, self.n_particles, self.action_dim
        if self._fixed_noise is None or self._fixed_noise.shape != shape:
            self._fixed_noise = fixed_noise(self.n_noises, self.n_particles, self.action_dim).unsqueeze(1)
        return self._fixed_noise

    # --- The readable definition or its fast form ---

    def noise_at(self, actor: NoisePredictor, features: th.Tensor, n_particles: int, dtype: str = "float32") -> NoiseAt:
        """
        A noise predictor at given states, for chains.

        :param actor: The noise predictor.
        :param features: Shape (B, features_dim).
        :param n_particles: Rows of each state.
        :param dtype: "float32", or "bfloat16" for products of it where they are faster.
        """
        if has_fast_form(actor.net, actor):
            times = actor.time(th.arange(self.diffusion_steps, device=features.device))
            rounds = dtype == "bfloat16" and is_fast("Sampling", features.device)
            return hoisted_noise(actor.net, features, times, th.bfloat16 if rounds else None)
        if dtype == "bfloat16":
            warn_float32(
                "Sampling", "networks with other layers than Linear and Mish or ReLU, or with hooks, have no fast form"
            )
        return actor.at(features, n_particles)

    def values(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        min_i Q_i of the online critics for several actions of each state, constants.

        :param obs: Observations.
        :param actions: Shape (B, N, |A|).
        :return: Shape (B, N).
        """
        with th.no_grad():
            features = self.critic.encode(obs)
            parts = self._parts(*actions.shape[:2])
            return th.cat([self._values(features[part], actions[part]) for part in parts])

    def _values(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        nets: list[Any] = list(self.critic.q_networks)
        if all(has_fast_form(net, self.critic) for net in nets):
            return hoisted_values(nets, features, actions)
        rows = repeat_rows(features, actions.shape[1])
        return smallest(self.critic.q_values(rows, actions.flatten(0, 1))).view(actions.shape[:2])
