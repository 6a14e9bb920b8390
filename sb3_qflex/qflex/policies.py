"""QFlex's policy: a Gaussian source policy, its critics, and the velocity field that carries its actions along Q."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_qflex.common import options, validation
from sb3_qflex.common.fast.plain import is_watched, obstacle
from sb3_qflex.common.fast.rounding import DTYPES
from sb3_qflex.common.networks import Critics, SourceActor
from sb3_qflex.export.heads import Head, SquashedGaussianHead
from sb3_qflex.qflex.evaluation import EvaluatedPolicy
from sb3_qflex.qflex.exported import exported_head
from sb3_qflex.qflex.guidance import RMS_DECAY, Guidance, rms_preconditioner
from sb3_qflex.qflex.networks import VelocityField
from sb3_qflex.qflex.options import EXPLORATIONS, NETWORKS, check_preconditioner

DEFAULT_NET_ARCH = [256, 256, 256]


class QFlexPolicy(EvaluatedPolicy):
    """
    Policy class (source policy, critics and velocity field) for QFlex.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param net_arch: Hidden layers of all networks, or a dict with ``pi`` (source policy), ``qf`` (critics) and
        ``field`` (velocity field). Three layers of 256 units where it does not say.
    :param activation_fn: Activation function. With another one than ReLU, training and acting use the plain
        definitions, which are slower.
    :param batch_norm: Whether to use BatchRenorm layers.
    :param batch_norm_momentum: Weight of the newest batch in their running averages, in (0, 1].
    :param batch_norm_eps: Added to the variance, positive.
    :param renorm_warmup_steps: Forwards in train mode with pure batch statistics, at least 0.
    :param features_extractor_class: Features extractor to use; by default CombinedExtractor for Dict observations and
        FlattenExtractor for others.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Kept for SB3's interface; images are refused.
    :param optimizer_class: The optimizer to use.
    :param optimizer_kwargs: Its arguments but the learning rate; by default betas (0.5, 0.999) for Adam and AdamW.
    :param n_critics: Number of critics, at least 1.
    :param share_features_extractor: Whether critics and field use the source policy's features extractor, which
        the source policy's loss alone then trains.
    :param flow_steps: Euler steps K of the flow, at least 1.
    :param guidance_steps: Gradient-ascent steps N of the flow target, at least 1.
    :param guidance_step_size: Their step size eta, positive.
    :param guidance_dtype: Number type of the critics in it, see :class:`sb3_qflex.QFlex`.
    :param preconditioner: Metric M of the ascent: None (identity), |A| positive numbers (its diagonal), or "rms".
    :param exploration: What ``predict`` executes: "flow", "source" or "ascent" (see :class:`sb3_qflex.QFlex`).
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "normalize_images": (bool,),
        "net_arch": (list, dict, type(None)),
        "batch_norm": (bool,),
        "batch_norm_momentum": (float, int),
        "batch_norm_eps": (float, int),
        "renorm_warmup_steps": (int,),
        "n_critics": (int,),
        "share_features_extractor": (bool,),
        "flow_steps": (int,),
        "guidance_steps": (int,),
        "guidance_step_size": (float, int),
        "guidance_dtype": (str,),
        "preconditioner": (list, str, type(None)),
        "exploration": (str,),
    }
    adam_arguments: ClassVar[Mapping[str, Any]] = {"betas": (0.5, 0.999), "fused": True}
    network_counts = ("n_critics",)

    actor: SourceActor
    metric: th.Tensor | None
    mean_square_gradient: th.Tensor
    clamp_count: th.Tensor

    flow_steps: int = options.count()
    guidance_steps: int = options.count()
    guidance_step_size: float = options.number(above=True)
    guidance_dtype: str = options.choice(DTYPES)
    preconditioner: np.ndarray | list[float] | str | None = options.option(
        lambda policy, _, value: check_preconditioner(value, policy.action_dim),
        lambda policy, _: policy._set_metric(),
    )
    exploration: str = options.choice(EXPLORATIONS)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        batch_norm: bool = True,
        batch_norm_momentum: float = 0.01,
        batch_norm_eps: float = 1e-5,
        renorm_warmup_steps: int = 10,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
        *,
        flow_steps: int = 20,
        guidance_steps: int = 20,
        guidance_step_size: float = 0.01,
        guidance_dtype: str = "float32",
        preconditioner: np.ndarray | list[float] | str | None = None,
        exploration: str = "flow",
    ):
        validation.check_batch_norm(batch_norm_momentum, batch_norm_eps, renorm_warmup_steps)
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
        self.batch_norm = batch_norm
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_eps = batch_norm_eps
        self.renorm_warmup_steps = renorm_warmup_steps
        self.n_critics = n_critics
        self.share_features_extractor = share_features_extractor
        self.flow_steps = flow_steps
        self.guidance_steps = guidance_steps
        self.guidance_step_size = guidance_step_size
        self.guidance_dtype = guidance_dtype
        self.preconditioner = preconditioner
        self.exploration = exploration
        options.check_options(self)
        self._build(lr_schedule, validation.net_archs(net_arch, DEFAULT_NET_ARCH, NETWORKS))
        # Not saved: the option itself is, and a saved copy would win over another one given to load.
        self.register_buffer("metric", None, persistent=False)
        self._set_metric()
        # u of the "rms" metric; there without it too (at 0, the identity), so that a model can change to it and back.
        self.register_buffer("mean_square_gradient", th.zeros(self.action_dim))
        # Coordinates of predicted actions that were clamped, and all of them: the logs' clamped_share.
        self.register_buffer("clamp_count", th.zeros((), dtype=th.long), persistent=False)
        self._predicted_coordinates = 0

    def _build(self, lr_schedule: Schedule, archs: dict[str, list[int]]) -> None:
        renorm = {
            "momentum": self.batch_norm_momentum,
            "eps": self.batch_norm_eps,
            "warmup_steps": self.renorm_warmup_steps,
        }
        kwargs: dict[str, Any] = {
            "activation_fn": self.activation_fn,
            "batch_norm_kwargs": renorm if self.batch_norm else None,
        }
        self.actor = self.make_actor(**self.network_arguments(net_arch=archs["pi"], **kwargs))
        shared = self.actor.features_extractor if self.share_features_extractor else None
        kwargs["share_features_extractor"] = self.share_features_extractor
        self.critic = Critics(
            **self.network_arguments(shared, net_arch=archs["qf"], n_critics=self.n_critics, **kwargs)
        )
        self.field = VelocityField(**self.network_arguments(shared, net_arch=archs["field"], **kwargs))
        self.actor.optimizer = self.new_optimizer(self.actor.parameters(), lr_schedule)
        self.critic.optimizer = self.new_optimizer(self.critic.own_parameters(), lr_schedule)
        self.field.optimizer = self.new_optimizer(self.field.own_parameters(), lr_schedule)
        # Everything stays in eval mode but the network that a loss is being computed for.
        self.set_training_mode(False)

    def make_actor(self, **arguments: Any) -> SourceActor:
        """
        A new source policy.

        :param arguments: Of :class:`SourceActor`.
        """
        return SourceActor(**arguments)

    def _set_metric(self) -> None:
        """A constant diagonal M."""
        diagonal = check_preconditioner(self.preconditioner, self.action_dim)
        self.metric = None if diagonal is None else th.as_tensor(diagonal).to(next(self.actor.parameters()))

    @property
    def uses_rms(self) -> bool:
        """Whether the metric is the "rms" one."""
        return isinstance(self.preconditioner, str)

    # --- Acting: observation -> source action -> integrator -> environment ---

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        unclamped = self._explore(observation, self._source(observation, deterministic))
        actions = unclamped.clamp(-1.0, 1.0)
        if not is_watched():
            # Not in place: in inference mode that would fail on a model from outside of it, and the other way round.
            self.clamp_count = self.clamp_count + (actions != unclamped).sum()
            self._predicted_coordinates += actions.numel()
        return actions

    def source(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """
        a(0): a sample of the source policy, or tanh(mean).

        :param obs: Observations.
        :param deterministic: Whether to take tanh(mean).
        :return: Shape (B, |A|), in [-1, 1], a constant.
        """
        with th.no_grad():
            return self._source(obs, deterministic)

    def _source(self, obs: PyTorchObs, deterministic: bool) -> th.Tensor:
        """The same, with a gradient to parameters and observations where torch records one."""
        if obstacle((), (self.actor,)):
            return self.actor(obs, deterministic)
        features, net = self.actor.encode(obs), self.actor.net
        row = self.single_row("actor", self.actor, net, features)
        return self.actor.act(net(features) if row is None else row.propagate(features), deterministic)

    def explore(self, obs: PyTorchObs, source_actions: th.Tensor) -> th.Tensor:
        """
        The action that ``exploration`` makes of a source action, before it is clamped to the box.

        :param obs: Observations.
        :param source_actions: a(0), shape (B, |A|).
        :return: Shape (B, |A|).
        """
        with th.no_grad():
            return self._explore(obs, source_actions)

    def _explore(self, obs: PyTorchObs, source_actions: th.Tensor) -> th.Tensor:
        if self.exploration == "flow":
            return self._flow(obs, source_actions)
        if self.exploration == "ascent":
            return self.ascend(obs, source_actions).target_actions
        return source_actions

    def flow(self, obs: PyTorchObs, source_actions: th.Tensor) -> th.Tensor:
        """
        End of the K-step flow from a(0).

        :param obs: Observations.
        :param source_actions: a(0), shape (B, |A|).
        :return: Shape (B, |A|), not clamped to the box.
        """
        with th.no_grad():
            return self._flow(obs, source_actions)

    def _flow(self, obs: PyTorchObs, source_actions: th.Tensor) -> th.Tensor:
        return self._integrate(obs, source_actions, self.flow_steps)

    def ascend(self, obs: PyTorchObs, source_actions: th.Tensor, dtype: str = "float32") -> Guidance:
        """
        Guidance steps from a(0) on the current critics.

        :param obs: Observations.
        :param source_actions: a(0), shape (B, |A|).
        :param dtype: Number type of the critics; flow targets take ``guidance_dtype``.
        :return: a(1), not clamped, and what the logs need.
        """
        with th.no_grad():
            metric = self.metric
            if self.uses_rms:
                metric = rms_preconditioner(self.mean_square_gradient)
            steps, step_size = self.guidance_steps, self.guidance_step_size
            return self._guide(obs, source_actions, steps, step_size, metric, dtype)

    def pop_counts(self) -> dict[str, float]:
        """Share of the coordinates predicted since the last call that had to be clamped to the box."""
        share = self.clamp_count.item() / max(self._predicted_coordinates, 1)
        self.restore_counts((0, 0))
        return {"clamped_share": share}

    def counts(self) -> tuple[int, int]:
        """Coordinates predicted since the last :meth:`pop_counts` that had to be clamped, and all of them."""
        return int(self.clamp_count.item()), self._predicted_coordinates

    def restore_counts(self, counts: tuple[int, int]) -> None:
        """
        :param counts: What :meth:`counts` gave.
        """
        self.clamp_count = th.full_like(self.clamp_count, counts[0])
        self._predicted_coordinates = counts[1]

    def update_preconditioner(self, gradient: th.Tensor) -> None:
        """
        Running average of the "rms" metric; nothing for the others.

        :param gradient: g at a(0), shape (B, |A|); ignored where it is not finite.
        """
        if self.uses_rms:
            square = gradient.square().mean(dim=0)
            average = th.lerp(square, self.mean_square_gradient, RMS_DECAY)
            self.mean_square_gradient.copy_(th.where(th.isfinite(square).all(), average, self.mean_square_gradient))

    def idle_networks(self) -> tuple[str, ...]:
        return {"flow": ("critic",), "source": ("critic", "field"), "ascent": ("field",)}[self.exploration]

    def exported_head(self, takes_noise: bool = False, *, flow_steps: int | None = None) -> Head:
        """
        The source action, and the flow behind it.

        :param takes_noise: Whether a(0) is sampled, with standard normal noise (B, |A|) as an input.
        :param flow_steps: Another K than the policy's.
        :raises ValueError: For ``exploration="ascent"``, a wrong K, and networks without exported form.
        """
        steps = self.flow_steps if flow_steps is None else flow_steps
        return exported_head(self.actor, self.source_head(takes_noise), self.field, self.exploration, steps)

    def source_head(self, takes_noise: bool) -> Head:
        """
        What of an exported policy makes the source action.

        :param takes_noise: Whether it is sampled.
        """
        return SquashedGaussianHead(self.actor, self.actor.net, self.action_dim, takes_noise)


#: SB3's names: the observation space decides which features extractor serves.
MlpPolicy = MultiInputPolicy = QFlexPolicy
