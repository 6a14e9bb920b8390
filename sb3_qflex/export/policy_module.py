"""The complete policy as one pure function of raw observations, the common source of all exported forms."""

import inspect
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.common.versions import policy_versions
from sb3_qflex.export.heads import Head
from sb3_qflex.export.observations import (
    NOISE,
    PLAIN_EXTRACTORS,
    Extractor,
    InputEncoder,
    input_encoders,
    unpickled_vec_normalize,
)


class BoxClip(nn.Module):
    """Clip actions to the Box of the environment, flattened."""

    smallest: th.Tensor
    largest: th.Tensor

    def __init__(self, action_space: spaces.Box):
        super().__init__()
        low, high = _bounds(action_space)
        # Bounds of a float64 Box are rounded inward, so that no float32 action lies outside.
        smallest, largest = low.astype(np.float32), high.astype(np.float32)
        smallest = np.where(smallest < low, np.nextafter(smallest, np.float32(np.inf)), smallest)
        largest = np.where(largest > high, np.nextafter(largest, np.float32(-np.inf)), largest)
        self.register_buffer("smallest", th.as_tensor(smallest))
        self.register_buffer("largest", th.as_tensor(largest))

    def forward(self, actions: th.Tensor) -> th.Tensor:
        """From float32 (B, |A|) to float32 (B, |A|), never outside the Box."""
        return th.minimum(th.maximum(actions, self.smallest), self.largest)


class BoxScale(BoxClip):
    """Rescale actions from [-1, 1], to which they are clamped, to the Box of the environment, flattened."""

    low: th.Tensor
    width: th.Tensor

    def __init__(self, action_space: spaces.Box):
        super().__init__(action_space)
        low, high = _bounds(action_space)
        self.is_identity = bool((low == -1.0).all() and (high == 1.0).all())
        self.register_buffer("low", th.as_tensor(low))
        self.register_buffer("width", th.as_tensor(high - low))

    def forward(self, actions: th.Tensor) -> th.Tensor:
        """From float32 (B, |A|) to float32 (B, |A|), never outside the Box."""
        actions = actions.clamp(-1.0, 1.0)
        if self.is_identity:
            return actions
        # In double precision, as in Policy.unscale_action.
        return super().forward((self.low + 0.5 * (actions.double() + 1.0) * self.width).float())


def _bounds(action_space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.asarray(bound, np.float64).ravel() for bound in (action_space.low, action_space.high))
    return low, high


class ExportedPolicy(nn.Module):
    """
    Raw observations -> features -> actions of the policy's head -> the Box; nothing random inside.

    The weights of this moment are copied.

    :param takes_noise: Whether the last input is standard normal noise, so that the policy samples as
        ``predict(deterministic=False)`` does.
    :param options: Of the policy's ``exported_head``, such as ``flow_steps`` of QFlex.
    """

    def __init__(
        self, policy: BasePolicy, vec_normalize: VecNormalize | None = None, takes_noise: bool = False, **options: Any
    ):
        super().__init__()
        # As predict does, and before weights are read: in train mode some parametrizations compute others each time.
        policy.set_training_mode(False)
        self.head = _head_of(policy, takes_noise, options)
        self.takes_noise = self.head.noise_dim > 0
        self.action_dim = get_action_dim(policy.action_space)
        self.normalizes = vec_normalize is not None and vec_normalize.norm_obs
        encoders = input_encoders(policy.observation_space, vec_normalize)
        self.names = list(encoders)
        self._encoders = nn.ModuleList(encoders.values())
        shapes = {name: encoder.shape for name, encoder in encoders.items()}
        takes_dict = isinstance(policy.observation_space, spaces.Dict)
        # Each once: all plain ones do the same, and networks can share one.
        keys = ["plain" if type(one) in PLAIN_EXTRACTORS else id(one) for one in self.head.extractors]
        different = dict(zip(keys, self.head.extractors, strict=True))
        self._extractors = nn.ModuleList(Extractor(one, shapes, takes_dict) for one in different.values())
        #: Which extractor gives the features of each of the head's networks.
        self.places = [list(different).index(key) for key in keys]
        to_box = BoxScale if self.head.is_scaled else BoxClip
        self.to_box = to_box(cast(spaces.Box, policy.action_space))
        self.cpu().eval().requires_grad_(False)

    @property
    def encoders(self) -> list[InputEncoder]:
        """The encoder of each input."""
        return cast(list[InputEncoder], list(self._encoders))

    @property
    def extractors(self) -> list[Extractor]:
        """The different features extractors."""
        return cast(list[Extractor], list(self._extractors))

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        """Float32 observations (B, dim) in the order of ``names``, then the noise, if any, to actions (B, |A|)."""
        n_raw = len(self.names)
        encoded = [encoder(x) for encoder, x in zip(self.encoders, inputs[:n_raw], strict=True)]
        features = [extractor(*encoded) for extractor in self.extractors]
        actions = self.head(*(features[place] for place in self.places), *inputs[n_raw:])
        return self.to_box(actions)


def _head_of(policy: BasePolicy, takes_noise: bool, options: dict[str, Any]) -> Head:
    make_head = getattr(policy, "exported_head", None)
    if make_head is None:
        raise UnsupportedError(
            f"{type(policy).__name__} has no exported form: only policies of sb3_qflex without a recurrent state have."
        )
    known = list(inspect.signature(make_head).parameters)[1:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UnsupportedError(
            f"The exported form of {type(policy).__name__} has no option {', '.join(unknown)}; its own options: "
            f"{', '.join(known) or 'none'}."
        )
    return cast(Head, make_head(takes_noise, **options))


def prepare(
    model: BaseAlgorithm,
    *packages: str,
    vec_normalize: VecNormalize | str | Path | None = None,
    noise: bool = False,
    task: str | None = None,
    **options: Any,
) -> tuple[ExportedPolicy, dict[str, str]]:
    """
    What every exported form begins with: the policy, and its metadata, JSON where a value is more than a word.

    :param packages: Further distributions whose version the metadata names.
    """
    if vec_normalize is None:
        vec_normalize = model.get_vec_normalize_env()
    elif not isinstance(vec_normalize, VecNormalize):
        vec_normalize = unpickled_vec_normalize(vec_normalize)
    exported = ExportedPolicy(model.policy, vec_normalize, noise, **options)
    inputs = {name: encoder.dim for name, encoder in zip(exported.names, exported.encoders, strict=True)}
    box = cast(spaces.Box, model.policy.action_space)
    content: dict[str, Any] = {
        "algorithm": type(model).__name__,
        "task": task or _task_of(model),
        "inputs": inputs | ({NOISE: exported.head.noise_dim} if exported.takes_noise else {}),
        "obs_dim": sum(inputs.values()),
        "act_dim": exported.action_dim,
        "action_low": box.low.ravel().tolist(),
        "action_high": box.high.ravel().tolist(),
        **exported.head.metadata,
        "deterministic": not exported.takes_noise,
        "observations_normalised": exported.normalizes,
        "versions": policy_versions(*packages),
    }
    return exported, {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}


def _task_of(model: BaseAlgorithm) -> str:
    """Id that the model's environments were registered under; empty where that is not known."""
    try:
        spec = model.env.get_attr("spec")[0] if model.env else None
    # A word of the metadata, which no environment need be alive for.
    except Exception:
        return ""
    return getattr(spec, "id", None) or ""
