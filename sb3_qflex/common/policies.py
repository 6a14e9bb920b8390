"""What every policy of this package has: the way between [-1, 1] and the Box, and what exports ask of it."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from sb3_qflex.common.validation import UnsupportedError


class Policy(BasePolicy):
    """
    A policy whose actions live in [-1, 1] until they reach the environment.

    A subclass that is to be exported overrides :meth:`exported_head`; one that is to be written to a policy file
    declares ``file_arguments`` and ``network_counts``.
    """

    action_space: spaces.Box
    #: The constructor's arguments that a policy file carries, with the types that their values have in JSON: all but
    #: observation_space, action_space, lr_schedule, activation_fn, optimizer_class, optimizer_kwargs,
    #: features_extractor_class and features_extractor_kwargs, which every such policy takes. A subclass declares them
    #: again, since it may act otherwise: by that it says that they are all that it needs.
    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    #: Those of them that are numbers of networks: a file cannot ask for more than it has tensors.
    network_counts: ClassVar[tuple[str, ...]] = ()

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
