"""FlowRL's policy: a velocity field that acts in one step, critics of policy and replay, and their slow copies."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_qflex.common import options, validation
from sb3_qflex.common.networks import follow
from sb3_qflex.export.heads import Head
from sb3_qflex.export.policy_file import ShareablePolicy
from sb3_qflex.flowrl.exported import FlowRLHead
from sb3_qflex.flowrl.flow import clipped_normal
from sb3_qflex.flowrl.networks import FlowActor, StateValue, ValueNetworks
from sb3_qflex.flowrl.options import NETWORKS

DEFAULT_NET_ARCH = [512, 512]


class FlowRLPolicy(ShareablePolicy):
    """
    Policy class (velocity field, critics of the policy and of the replay, their targets, and V) for FlowRL.

    Every hidden Linear is followed by LayerNorm. The velocity field has one activation for each layer of ``net_arch``;
    value networks have a Linear and LayerNorm in front of these layers and behind them, and GELU in them.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param net_arch: Hidden layers of all networks, at least one, or a dict with ``pi`` (velocity field), ``qf`` (both
        pairs of critics) and ``vf`` (V). Two layers of 512 units where it does not say.
    :param activation_fn: Activation function of the velocity field.
    :param features_extractor_class: Features extractor to use; by default CombinedExtractor for Dict observations and
        FlattenExtractor for others. Each network has its own.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Kept for SB3's interface; images are refused.
    :param optimizer_class: The optimizer to use.
    :param optimizer_kwargs: Its arguments but the learning rate; by default fused for Adam and AdamW.
    :param n_critics: Number of critics in each pair, at least 1.
    :param flow_steps: Midpoint steps of the flow, at least 1.
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "normalize_images": (bool,),
        "net_arch": (list, dict, type(None)),
        "n_critics": (int,),
        "flow_steps": (int,),
    }
    network_counts: ClassVar[tuple[str, ...]] = ("n_critics",)
    actor: FlowActor
    critic: ValueNetworks
    critic_target: ValueNetworks
    buffer_critic: ValueNetworks
    buffer_critic_target: ValueNetworks
    value: StateValue

    flow_steps: int = options.count()

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ELU,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        *,
        flow_steps: int = 1,
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
        self.flow_steps = flow_steps
        options.check_options(self)
        archs = validation.net_archs(net_arch, DEFAULT_NET_ARCH, NETWORKS)
        for name, widths in archs.items():
            if not widths:
                raise ValueError(f"net_arch[{name!r}] must have at least one hidden layer, not [].")
        self._build(lr_schedule, archs)

    def _build(self, lr_schedule: Schedule, archs: dict[str, list[int]]) -> None:
        def made(network: Callable[..., Any], name: str) -> Any:
            return network(archs[name], **self.network_arguments())

        critics = partial(ValueNetworks, n_critics=self.n_critics)
        self.actor = made(partial(FlowActor, activation_fn=self.activation_fn), "pi")
        self.critic, self.buffer_critic = made(critics, "qf"), made(critics, "qf")
        self.critic_target, self.buffer_critic_target = made(critics, "qf"), made(critics, "qf")
        self.value = made(StateValue, "vf")
        for network in (self.actor, self.critic, self.buffer_critic, self.value):
            network.optimizer = self.new_optimizer(network.parameters(), lr_schedule)
        for network, target in self.targets():
            target.load_state_dict(network.state_dict())
            target.requires_grad_(False)
        # Everything stays in eval mode but the network that a loss is being computed for.
        self.set_training_mode(False)

    def targets(self) -> list[tuple[ValueNetworks, ValueNetworks]]:
        """Each pair of critics with its slow copy."""
        return [(self.critic, self.critic_target), (self.buffer_critic, self.buffer_critic_target)]

    @th.no_grad()
    def update_targets(self, tau: float) -> None:
        """
        Targets become (1 - tau) of themselves and tau of the critics; statistics of extractors' layers are copied.

        :param tau: In [0, 1].
        """
        for network, target in self.targets():
            follow(target, network, tau)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        features = self.actor.encode(observation)
        zero = features.new_zeros(len(features), self.action_dim)
        return self.actor.act(features, zero if deterministic else clipped_normal(zero), self.flow_steps)

    def sample(self, obs: PyTorchObs) -> th.Tensor:
        """
        A sample of pi(s), a constant.

        :param obs: s.
        :return: Shape (B, |A|), in [-1, 1].
        """
        with th.no_grad():
            return self._predict(obs)

    def in_box(self, actions: th.Tensor) -> th.Tensor:
        """
        Actions in the units of the environment's box.

        :param actions: In [-1, 1], shape (B, |A|).
        """
        low, high = (
            th.as_tensor(bound.ravel()).to(actions) for bound in (self.action_space.low, self.action_space.high)
        )
        return low + 0.5 * (actions + 1.0) * (high - low)

    def exported_head(self, takes_noise: bool = False, *, flow_steps: int | None = None) -> Head:
        """
        The flow from a_0 = 0, or from noise.

        :param takes_noise: Whether it samples, with standard normal noise (B, |A|) as an input.
        :param flow_steps: Another number of midpoint steps than the policy's.
        :raises ValueError: For a wrong number of steps, and networks without exported form.
        """
        steps = self.flow_steps if flow_steps is None else flow_steps
        validation.check_count("flow_steps", steps)
        return FlowRLHead(self.actor, steps, takes_noise)


#: SB3's names: the observation space decides which features extractor serves.
MlpPolicy = MultiInputPolicy = FlowRLPolicy
