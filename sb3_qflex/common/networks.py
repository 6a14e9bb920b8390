"""Networks with BatchRenorm on the input of every layer: a Gaussian source policy, critics without targets."""

import math
from functools import partial
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import polyak_update
from torch import nn
from torch.distributions import Normal

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.eval_pass import eval_pass
from sb3_qflex.common.fast.plain import CHAINS, is_watched, obstacle
from sb3_qflex.common.fast.training_pass import TrainingPass

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


def init_linear(module: nn.Module) -> None:
    """
    Truncated normal weights and zero bias (reference implementation); use with ``module.apply``.

    :param module: A linear layer gets weights of standard deviation 1/sqrt(fan_in), truncated at two of them; any
        other module is left alone.
    """
    if isinstance(module, nn.Linear):
        std = 1.0 / math.sqrt(module.in_features)
        nn.init.trunc_normal_(module.weight, std=std, a=-2.0 * std, b=2.0 * std)
        nn.init.zeros_(module.bias)


def follow(slow: nn.Module, network: nn.Module, tau: float) -> None:
    """
    Move a slow copy towards its network; statistics of layers are copied.

    :param slow: The copy.
    :param network: What it is a copy of.
    :param tau: In [0, 1].
    """
    polyak_update(network.parameters(), slow.parameters(), tau)
    for buffer, copy in zip(network.buffers(), slow.buffers(), strict=True):
        copy.copy_(buffer)


class RenormMLP(nn.Sequential):
    """
    Layers in sequence, with faster forms where these have the same result: in train mode one operation, see
    :mod:`training_pass`, and in eval mode without gradients the fastest products, see :mod:`eval_pass`.
    """

    def forward(self, x: th.Tensor) -> th.Tensor:
        """
        :param x: Shape (B, inputs).
        :return: Shape (B, outputs).
        """
        layers: list[Any] = list(self)
        if not _is_renorm_mlp(layers) or is_watched() or obstacle(layers):
            return super().forward(x)
        norms, linears = layers[::3], layers[1::3]
        if all(norm.training for norm in norms) and not x.requires_grad:
            parameters = [
                parameter
                for norm, linear in zip(norms, linears, strict=True)
                for parameter in (norm.scale, norm.bias, linear.weight, linear.bias)
            ]
            return TrainingPass.apply(x, norms, *parameters)
        if not any(norm.training for norm in norms) and not th.is_grad_enabled():
            return eval_pass(x, norms, linears)
        return super().forward(x)


# Its other passes than those of training are nn.Sequential's.
CHAINS.add(RenormMLP)


def _is_renorm_mlp(layers: list[nn.Module]) -> bool:
    """Whether these are BatchRenorm, Linear, ReLU, ..., BatchRenorm, Linear."""
    kinds = [type(layer) for layer in layers]
    return kinds == [BatchRenorm, nn.Linear, nn.ReLU] * (len(kinds) // 3) + [BatchRenorm, nn.Linear]


def init_xavier(module: nn.Module) -> None:
    """
    Xavier uniform weights and zero bias; use with ``module.apply``.

    :param module: A linear layer; any other module is left alone.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def renorm_mlp(
    input_dim: int,
    output_dim: int,
    net_arch: list[int],
    activation_fn: type[nn.Module],
    batch_norm_kwargs: dict[str, Any] | None,
) -> nn.Sequential:
    """
    BatchRenorm on the input, then per hidden layer Linear, activation, BatchRenorm, then a Linear output.

    :param input_dim: Columns of the input.
    :param output_dim: Columns of the output.
    :param net_arch: Width of each hidden layer.
    :param activation_fn: Class of the activation.
    :param batch_norm_kwargs: Options of :class:`BatchRenorm`; None for a network without it.
    """
    renorm: list[Any] = [] if batch_norm_kwargs is None else [partial(BatchRenorm, **batch_norm_kwargs)]
    mlp = RenormMLP(*create_mlp(input_dim, output_dim, net_arch, activation_fn, pre_linear_modules=renorm))
    mlp.apply(init_linear)
    return mlp


class SquashedGaussian(SquashedDiagGaussianDistribution):
    """
    SB3's distribution without torch's check of its arguments.

    The check reads the device at each call, and stops at numbers that are not finite, which the guard of the training
    step is there to mask and report.
    """

    def proba_distribution(self, mean_actions: th.Tensor, log_std: th.Tensor) -> "SquashedGaussian":
        self.distribution = Normal(mean_actions, log_std.exp(), validate_args=False)
        return self


def squash(mean: th.Tensor, log_std: th.Tensor, deterministic: bool = False) -> th.Tensor:
    """
    What :class:`SquashedGaussian` samples, bit for bit, at the cost of the arithmetic alone.

    :param mean: Shape (B, |A|).
    :param log_std: Shape (B, |A|).
    :param deterministic: Whether to take tanh(mean).
    :return: Shape (B, |A|), in [-1, 1].
    """
    return th.tanh(mean if deterministic else mean + th.randn_like(mean) * log_std.exp())


class SourceActor(BasePolicy):
    """
    Source policy pi0: a tanh-squashed diagonal Gaussian with one trunk and two heads.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param net_arch: Hidden layers.
    :param features_extractor: Network from observations to features.
    :param features_dim: Number of features.
    :param activation_fn: Activation function.
    :param normalize_images: Kept for SB3's interface; images are refused.
    :param batch_norm_kwargs: Options of the BatchRenorm layers; None for none.
    """

    action_space: spaces.Box
    optimizer: th.optim.Optimizer

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: nn.Module,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        batch_norm_kwargs: dict[str, Any] | None = None,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self.net_arch = net_arch
        self.features_dim = features_dim
        self.activation_fn = activation_fn
        self.batch_norm_kwargs = batch_norm_kwargs
        self.action_dim = get_action_dim(action_space)
        self.action_dist = SquashedGaussian(self.action_dim)
        # The two heads are one Linear: the same distribution of initial weights, one matrix product less.
        self.net = renorm_mlp(features_dim, 2 * self.action_dim, net_arch, activation_fn, batch_norm_kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            features_dim=self.features_dim,
            activation_fn=self.activation_fn,
            features_extractor=self.features_extractor,
            batch_norm_kwargs=self.batch_norm_kwargs,
        )
        return data

    def encode(self, obs: PyTorchObs) -> th.Tensor:
        """
        Features of observations.

        :param obs: Observations, (B, ...) or a dict of them.
        :return: Shape (B, features_dim).
        """
        return self.extract_features(obs, self.features_extractor).to(next(self.net.parameters()).dtype)

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        """
        Mean and clipped log standard deviation before the squashing.

        :param obs: Observations.
        :return: Two tensors of shape (B, |A|); and, as in SB3's actors, further arguments of the distribution: none.
        """
        return *self.split_heads(self.net(self.encode(obs))), {}

    @staticmethod
    def split_heads(output: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Mean and log-std of the network's output, the log-std clipped to [-20, 2].

        :param output: Shape (B, 2 |A|).
        """
        mean, log_std = output.chunk(2, dim=1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def act(self, output: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        Actions from what the network gives.

        :param output: Of the network, (B, 2 |A|).
        :param deterministic: Whether to take tanh(mean).
        :return: Shape (B, |A|), in [-1, 1].
        """
        return squash(*self.split_heads(output), deterministic)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        output = self.net(self.encode(obs))
        self._remember(*self.split_heads(output))
        return self.act(output, deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """
        A reparameterised sample and its log-probability.

        :param obs: Observations.
        :return: Actions (B, |A|) in [-1, 1] and log-probabilities (B,).
        """
        mean, log_std, _ = self.get_action_dist_params(obs)
        self._remember(mean, log_std)
        return SquashedGaussian(self.action_dim).log_prob_from_params(mean, log_std)

    def _remember(self, mean: th.Tensor, log_std: th.Tensor) -> None:
        """The last distribution, as SB3's actors have it; without its graph, which would stay in memory."""
        self.action_dist.proba_distribution(mean.detach(), log_std.detach())

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation, deterministic)


class StateNetwork(BaseModel):
    """
    A network on the features of a state, with an extractor of its own or the source policy's.

    A shared extractor is trained by the source policy alone (SB3's rule): here its features are detached, and its
    train mode is left as it is.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param features_extractor: Network from observations to features.
    :param features_dim: Number of features.
    :param normalize_images: Kept for SB3's interface; images are refused.
    :param share_features_extractor: Whether the extractor belongs to the source policy.
    """

    features_extractor: BaseFeaturesExtractor
    optimizer: th.optim.Optimizer

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        normalize_images: bool = True,
        share_features_extractor: bool = False,
    ):
        super().__init__(
            observation_space, action_space, features_extractor=features_extractor, normalize_images=normalize_images
        )
        self.features_dim = features_dim
        self.action_dim = get_action_dim(action_space)
        self.share_features_extractor = share_features_extractor

    def encode(self, obs: PyTorchObs) -> th.Tensor:
        """
        Features of observations, detached where the extractor is shared.

        :param obs: Observations, (B, ...) or a dict of them.
        :return: Shape (B, features_dim).
        """
        features = self.extract_features(obs, self.features_extractor).to(next(self.parameters()).dtype)
        return features.detach() if self.share_features_extractor else features

    def train(self, mode: bool = True) -> "StateNetwork":
        extractor_mode = self.features_extractor.training
        super().train(mode)
        if self.share_features_extractor:
            self.features_extractor.train(extractor_mode)
        return self

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that this network's loss trains: all but those of a shared extractor."""
        shared = set(self.features_extractor.parameters()) if self.share_features_extractor else set()
        return [parameter for parameter in self.parameters() if parameter not in shared]


class Critics(StateNetwork):
    """
    The critics Q_1 ... Q_n on concat(s, a), CrossQ style: no target networks.

    :param net_arch: Hidden layers.
    :param n_critics: Number of critics.
    :param activation_fn: Activation function.
    :param batch_norm_kwargs: Options of the BatchRenorm layers; None for none.
    :param kwargs: As for :class:`StateNetwork`.
    """

    def __init__(
        self,
        net_arch: list[int],
        n_critics: int = 2,
        activation_fn: type[nn.Module] = nn.ReLU,
        batch_norm_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.n_critics = n_critics
        input_dim = self.features_dim + self.action_dim
        self.q_networks = nn.ModuleList(
            renorm_mlp(input_dim, 1, net_arch, activation_fn, batch_norm_kwargs) for _ in range(n_critics)
        )

    def q_values(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        Q_i at encoded states.

        :param features: Shape (B, features_dim).
        :param actions: Shape (B, |A|).
        :return: Shape (n_critics, B).
        """
        x = th.cat([features, actions], dim=1)
        return th.stack([q_network(x).squeeze(1) for q_network in self.q_networks])

    def forward(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """As in SB3, one (B, 1) tensor for each critic."""
        return tuple(q.unsqueeze(1) for q in self.q_values(self.encode(obs), actions))
