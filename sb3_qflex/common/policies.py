"""What the policies of all algorithms here have in common."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_qflex.common import validation
from sb3_qflex.common.fast.fold_cache import FoldCache
from sb3_qflex.common.fast.folding import FoldedMLP
from sb3_qflex.common.fast.plain import is_watched
from sb3_qflex.common.fast.single_observation import SingleRow, is_single
from sb3_qflex.common.validation import UnsupportedError


@contextmanager
def train_mode(network: nn.Module) -> Iterator[None]:
    """
    Train mode inside the ``with``, eval mode after it.

    :param network: The network.
    """
    network.train(True)
    try:
        yield
    finally:
        network.train(False)


class Policy(BasePolicy):
    """
    Base class of policies, on a bounded Box of actions that the networks know as [-1, 1].

    A subclass builds its networks with their optimizers, ``actor`` among them, and says in ``_predict`` what acts. One
    that is to be exported overrides :meth:`exported_head`; one that is to be written to a policy file declares
    ``file_arguments`` and ``network_counts``.

    :param observation_space: Observation space: no images
    :param action_space: A bounded Box of floats
    :param features_extractor_class: By default CombinedExtractor for Dict observations and FlattenExtractor for others
    :param features_extractor_kwargs: Its keyword arguments
    :param optimizer_class: The optimizer of the networks
    :param optimizer_kwargs: Its arguments but the learning rate; by default :attr:`adam_arguments` for Adam and AdamW
    :param keywords: Of SB3's ``BasePolicy``
    """

    action_space: spaces.Box
    action_dim: int
    actor: Any

    #: The constructor's arguments that a policy file carries, with the types that their values have in JSON: all but
    #: observation_space, action_space, lr_schedule, activation_fn, optimizer_class, optimizer_kwargs,
    #: features_extractor_class and features_extractor_kwargs, which every such policy takes. A subclass declares them
    #: again, since it may act otherwise: by that it says that they are all that it needs.
    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    #: Those of them that are numbers of networks: a file cannot ask for more than it has tensors.
    network_counts: ClassVar[tuple[str, ...]] = ()
    #: What Adam and AdamW get unless told otherwise.
    adam_arguments: ClassVar[Mapping[str, Any]] = {"fused": True}

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        *,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **keywords: Any,
    ):
        validation.check_spaces(observation_space, action_space)
        if features_extractor_class is None:
            is_dict = isinstance(observation_space, spaces.Dict)
            features_extractor_class = CombinedExtractor if is_dict else FlattenExtractor
        if optimizer_kwargs is None:
            optimizer_kwargs = dict(self.adam_arguments) if optimizer_class in (th.optim.Adam, th.optim.AdamW) else {}
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=True,
            **keywords,
        )
        self.action_dim = get_action_dim(self.action_space)
        self._folded = FoldCache()

    # --- Building ---

    def network_arguments(self, extractor: BaseFeaturesExtractor | None = None, **own: Any) -> dict[str, Any]:
        """
        Keyword arguments of a network's constructor.

        :param extractor: Features extractor of another network, if this one has none of its own.
        :param own: Those beside the spaces, the extractor and ``normalize_images``.
        """
        arguments = {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "normalize_images": self.normalize_images,
            **own,
        }
        return self._update_features_extractor(arguments, extractor)

    def new_optimizer(self, parameters: Iterable[nn.Parameter], lr_schedule: Schedule) -> th.optim.Optimizer:
        """
        :param parameters: What it moves.
        :param lr_schedule: Learning rate schedule.
        """
        return self.optimizer_class(list(parameters), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    # --- Acting ---

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self._predict(obs, deterministic)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Get the policy action from an observation, see ``BasePolicy.predict``.

        :param observation: the input observation
        :param state: passed through
        :param episode_start: ignored: nothing here is recurrent
        :param deterministic: Whether or not to return deterministic actions.
        :raises ValueError: if a number of the observation is not finite, naming its entry and environment
        """
        validation.check_finite_observation(observation, self.observation_space)
        return super().predict(observation, state, episode_start, deterministic)

    def set_training_mode(self, mode: bool) -> None:
        """
        Put policy in either training or evaluation mode.

        :param mode: if true, set to training mode, else set to evaluation mode
        """
        # Each predict asks for it, and setting the mode takes several times as long as looking.
        if any(module.training != mode for module in self.modules()):
            self.train(mode)

    def fold(
        self, name: str, network: nn.Module, nets: list[Any], n_features: int, backward: bool = False
    ) -> list[FoldedMLP] | None:
        """
        Eval-mode networks folded at their present parameters; None where the plain definition has to serve: for other
        layers than those of ``networks.renorm_mlp``, hooks, and while torch traces or differentiates.

        :param name: What they are.
        :param network: The module that has them.
        :param nets: The networks.
        :param n_features: Columns of their input that are features of the state.
        :param backward: Whether gradients by the action will be taken.
        """
        if th.is_grad_enabled() or network.training or is_watched():
            return None
        return self._folded.get(name, network, nets, n_features, backward)

    def single_row(self, name: str, network: nn.Module, net: Any, features: th.Tensor) -> SingleRow | None:
        """
        An eval-mode network for one observation on a CPU; None for others, and where the plain definition has to serve.

        :param name: What it is.
        :param network: The module that has it.
        :param net: The network.
        :param features: Shape (B, F).
        """
        if not is_single(features) or th.is_grad_enabled() or network.training or is_watched():
            return None
        return self._folded.row(name, network, net)

    @contextmanager
    def edited_by_optimizers_alone(self) -> Iterator[None]:
        """Inside the ``with`` nobody but ``OffPolicyBase.minimise`` may edit the weights."""
        with self._folded.edited_by_optimizers_alone():
            yield

    # --- What is counted while acting, for the log and for checkpoints ---

    def pop_counts(self) -> dict[str, float]:
        """Values for the log of what was counted since the last call."""
        return {}

    def counts(self) -> Any:
        """What was counted since then, for :meth:`restore_counts`."""
        return None

    def restore_counts(self, counts: Any) -> None:
        """
        :param counts: What :meth:`counts` gave.
        """

    # --- Files ---

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        names = (*self.file_arguments, "activation_fn", "features_extractor_class", "features_extractor_kwargs")
        data.update({name: getattr(self, name) for name in (*names, "optimizer_class", "optimizer_kwargs")})
        data["lr_schedule"] = self._dummy_schedule  # the policy alone is not trained
        return data

    def exported_head(self, takes_noise: bool = False) -> nn.Module:
        """
        What an exported policy does between features and actions, with the weights of this moment.

        A subclass may take options of its own by keyword, which ``export_onnx`` and ``export_torchscript`` pass on.

        :param takes_noise: Whether it samples, with standard normal noise as an input, or acts deterministically.
        :return: A :class:`sb3_qflex.export.heads.Head`.
        :raises UnsupportedError: Where there is none, with what to do.
        """
        raise UnsupportedError(
            f"{type(self).__name__} has no exported form: its method exported_head has to return one, see "
            "sb3_qflex.export.heads."
        )

    # --- Between [-1, 1] and the Box of the environment ---

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """
        Rescale actions from [low, high] to [-1, 1].

        :param action: In the Box of the environment, shape ``(..., *action_space.shape)``.
        :return: float32, never outside [-1, 1].
        """
        low, high = self._bounds()
        return np.clip(2.0 * ((action - low) / (high - low)) - 1.0, -1.0, 1.0).astype(np.float32)

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """
        Rescale actions from [-1, 1] to [low, high].

        :param scaled_action: Shape ``(..., *action_space.shape)``.
        :return: In the Box's dtype, never outside it (SB3's formula can exceed ``high`` by rounding).
        """
        low, high = self._bounds()
        action = (low + 0.5 * (scaled_action + 1.0) * (high - low)).astype(self.action_space.dtype)
        return np.clip(action, self.action_space.low, self.action_space.high)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        # float64: in float32 the width is rounded, and an action of 1 can miss the end of the box.
        return self.action_space.low.astype(np.float64), self.action_space.high.astype(np.float64)
