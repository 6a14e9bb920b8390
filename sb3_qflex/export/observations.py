"""From raw observations to features: what VecNormalize and SB3's preprocessing do, as modules that can be exported."""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_qflex.common.validation import UnsupportedError

#: Name of the one input of observations that are no Dict.
OBS = "obs"
#: Extractors that only flatten and concatenate.
PLAIN_EXTRACTORS = (FlattenExtractor, CombinedExtractor)
#: Name of the input with noise.
NOISE = "noise"
_OTHER_VALUES = ("action", NOISE)


def unpickled_vec_normalize(path: str | Path) -> VecNormalize:
    """
    Statistics that ``VecNormalize.save`` wrote, without an environment; a ValueError if the file holds something else.

    This unpickles the file: open none from a stranger.
    """
    with open(path, "rb") as file:
        try:
            loaded = pickle.load(file)
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
            raise ValueError(f"{path} is no file of VecNormalize.save: {error}") from error
    if not isinstance(loaded, VecNormalize):
        raise ValueError(f"{path} is no file of VecNormalize.save: it holds a {type(loaded).__name__}.")
    return loaded


def statistics(vec_normalize: VecNormalize | None, observation_space: spaces.Space) -> dict[str, RunningMeanStd]:
    """Statistics of the inputs that are normalised, by their names; those of other observations are a ValueError."""
    if vec_normalize is None or not vec_normalize.norm_obs:
        return {}
    rms = vec_normalize.obs_rms
    keys = vec_normalize.norm_obs_keys or ()
    found = {key: rms[key] for key in keys} if isinstance(rms, dict) else {OBS: rms}
    check_statistics(found, observation_space)
    return found


def check_statistics(found: Mapping[str, RunningMeanStd], observation_space: spaces.Space) -> None:
    """A ValueError if statistics, by the name of the input, are those of other observations."""
    parts = parts_of(observation_space)
    for name, one in found.items():
        if name not in parts or one.mean.shape != parts[name].shape:
            expected = {key: space.shape for key, space in parts.items()}
            raise ValueError(
                f"The VecNormalize statistics of {name!r} have shape {one.mean.shape}, and the policy observes "
                f"{expected}: they belong to another task."
            )


def parts_of(observation_space: spaces.Space) -> Mapping[str, spaces.Space]:
    """The inputs of an exported policy: one for each key of a Dict, in its order, or ``obs``."""
    if isinstance(observation_space, spaces.Dict):
        return observation_space.spaces
    return {OBS: observation_space}


class InputEncoder(nn.Module):
    """
    One float32 input (B, dim), for Discrete a column of numbers, to what SB3's preprocessing makes of it.

    :param rms: Statistics of VecNormalize, with its ``epsilon`` and ``clip_obs``; None for no normalisation.
    """

    mean: th.Tensor
    std: th.Tensor
    columns: th.Tensor
    values: th.Tensor

    def __init__(self, space: spaces.Space, rms: RunningMeanStd | None = None, epsilon: float = 0.0, clip: float = 0.0):
        super().__init__()
        self.dim = int(np.prod(space.shape or ()))
        self.shape = tuple(space.shape or ())
        self.normalizes = rms is not None
        self.clip = float(clip)
        if rms is not None:
            # In double precision, as VecNormalize computes.
            self.register_buffer("mean", th.as_tensor(rms.mean, dtype=th.float64).flatten())
            self.register_buffer("std", (th.as_tensor(rms.var, dtype=th.float64).flatten() + epsilon).sqrt())
        choices = _choices(space)
        self.is_one_hot = choices is not None
        if choices is not None:
            self.shape = (sum(choices),)
            self.register_buffer("columns", th.repeat_interleave(th.arange(self.dim), th.as_tensor(choices)))
            self.register_buffer("values", th.cat([th.arange(n, dtype=th.float32) for n in choices]))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """From raw (B, dim) to flat (B, features)."""
        if self.normalizes:
            x = ((x.double() - self.mean) / self.std).clamp(-self.clip, self.clip).float()
        if self.is_one_hot:
            x = (x.index_select(1, self.columns) == self.values).float()
        return x


def _choices(space: spaces.Space) -> list[int] | None:
    """Number of values of each column that is one-hot encoded."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.ravel()]
    return None


class Extractor(nn.Module):
    """A copy of a features extractor, on encoded inputs of these shapes without the batch."""

    def __init__(self, extractor: BaseFeaturesExtractor, shapes: dict[str, tuple[int, ...]], takes_dict: bool):
        super().__init__()
        self.shapes, self.takes_dict = shapes, takes_dict
        self.is_plain = type(extractor) in PLAIN_EXTRACTORS
        self.title = type(extractor).__name__
        self.extractor = nn.Identity() if self.is_plain else copy.deepcopy(extractor).eval().requires_grad_(False)

    def forward(self, *encoded: th.Tensor) -> th.Tensor:
        """From flat inputs, in the order of the names, to (B, features)."""
        if self.is_plain:
            return th.cat(encoded, dim=1) if len(encoded) > 1 else encoded[0]
        shaped = {name: x.reshape(-1, *self.shapes[name]) for name, x in zip(self.shapes, encoded, strict=True)}
        return self.extractor(shaped) if self.takes_dict else self.extractor(shaped[OBS])


def input_encoders(observation_space: spaces.Space, vec_normalize: VecNormalize | None) -> dict[str, InputEncoder]:
    """An encoder for each input, with the statistics of VecNormalize folded in."""
    found = statistics(vec_normalize, observation_space)
    epsilon, clip = (0.0, 0.0) if vec_normalize is None else (vec_normalize.epsilon, vec_normalize.clip_obs)
    parts = parts_of(observation_space)
    for name in _OTHER_VALUES:
        if name in parts:
            raise UnsupportedError(f"The observation {name!r} has the name of another value of the exported policy.")
    return {name: InputEncoder(space, found.get(name), epsilon, clip) for name, space in parts.items()}
