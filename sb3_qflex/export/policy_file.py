"""
A policy alone, in a file that is safe to open: safetensors with one JSON text.

Reading it runs no code of the file. It holds the networks of a policy (for QFlex source policy, velocity field and
critics; or those that act alone), what its class needs to make them, and the statistics of VecNormalize, but no
optimizer state.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.common.policies import Policy
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.common.versions import policy_versions
from sb3_qflex.export.networks import refuse_hooks
from sb3_qflex.export.observations import OBS, check_statistics, statistics
from sb3_qflex.export.policy_config import config_to_json, policy_from_config
from sb3_qflex.export.stored import WHOLE, check_stored, leave_out, left_out, restored, stored
from sb3_qflex.pretrained.index import Collection

SUFFIX = ".safetensors"
#: Key of the file's header, and version of what it has there.
HEADER, FORMAT_VERSION = "sb3_qflex.policy", 1
_NORMALIZATION = "vec_normalize"
_NORMALISED = "takes observations that VecNormalize has normalised"
_STATISTICS = ("mean", "var", "count")

#: What torch.save writes starts so.
_ZIP = b"PK\x03\x04"

SelfPolicy = TypeVar("SelfPolicy", bound="ShareablePolicy")
AnyPolicy = TypeVar("AnyPolicy", bound=Policy)


class ShareablePolicy(Policy):
    """A policy that can be written to a file without pickles."""

    #: Statistics by which it normalises observations itself; None where its environment does, if anything.
    normalizer: VecNormalize | None = None

    def obs_to_tensor(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """
        The networks' input, as SB3 makes it; normalised before by a policy of :meth:`pretrained`.

        :param observation: One observation, or one for each environment.
        :return: As tensors with a batch dimension, and whether there was one.
        """
        if self.normalizer is not None:
            observation = self.normalizer.normalize_obs(observation)
        return super().obs_to_tensor(observation)

    def idle_networks(self) -> tuple[str, ...]:
        """Names of the networks that ``predict`` does not need, which ``export_policy`` can leave out."""
        return ()

    def export_policy(
        self,
        path: str | Path,
        vec_normalize: VecNormalize | None = None,
        task: str | None = None,
        *,
        storage: str = "float32",
        acting_only: bool = False,
    ) -> Path:
        """
        Write the policy to a file that is safe to open, for :meth:`load`.

        :param path: Target; gets the suffix .safetensors if it has none. An older file is replaced, atomically.
        :param vec_normalize: Statistics that its observations are normalised with, for
            :func:`sb3_qflex.export.load_vec_normalize`.
        :param task: Id of the task, for the reader.
        :param storage: "float32", or "float16" for files of half the size: matrices are rounded to 11 significant
            bits (a relative error of at most 0.0005), and what is loaded computes in float32 with the rounded ones.
        :param acting_only: Whether to leave out networks that ``predict`` does not need, such as critics.
        :return: The file.
        :raises ValueError: If the policy needs code of its own, which such a file cannot carry, the suffix is another,
            or a matrix has numbers that the storage cannot hold.
        """
        if Path(path).suffix not in ("", SUFFIX):
            raise ValueError(f"A policy file ends with {SUFFIX}, by which it is recognised, and not as {path} does.")
        absent = [*left_out(self), *(self.idle_networks() if acting_only else ())]
        normalizer = self.normalizer if vec_normalize is None else vec_normalize
        content = _to_bytes(self, normalizer, task, {"matrices": storage, "left_out": sorted(set(absent))})
        return write_atomically(path, content, SUFFIX.removeprefix("."))

    def save(self, path: str) -> None:
        """
        Write the policy to a file of SB3's ``BasePolicy.save``, a pickle.

        :param path: Target.
        :raises UnsupportedError: If it lacks networks or normalises observations itself, which such a file cannot say.
        """
        if left_out(self) or self.normalizer is not None:
            raise UnsupportedError(
                "This policy is from a policy file, without the networks that only training needs or with statistics "
                "of its own, which a file of save would lose: write it with export_policy."
            )
        super().save(path)

    @classmethod
    def load(cls: type[SelfPolicy], path: Any, device: th.device | str = "auto") -> SelfPolicy:
        """
        Load a policy from a file of :meth:`export_policy`, unpickling nothing, or from one of ``save``.

        A file of ``save`` is a pickle, which can run any code: open none from a stranger. A path that ends with
        .safetensors is never unpickled.

        :param path: The file.
        :param device: Device on which the policy should run.
        :raises ValueError: If the file is neither, damaged, or of a newer format.
        """
        if not isinstance(path, (str, Path)):
            return super().load(path, device)
        if Path(path).suffix != SUFFIX:
            with open(path, "rb") as file:
                if file.read(len(_ZIP)) == _ZIP:
                    return super().load(str(path), device)
        config, tensors = _read(path)
        state = {name.removeprefix("policy."): value for name, value in tensors.items() if name.startswith("policy.")}
        absent = config["stored"]["left_out"]
        try:
            state = restored(state, config["stored"]["matrices"])
            _check_state(_without_memory(cls, config["policy"], len(state), absent).state_dict(), state)
            policy = policy_from_config(cls, config["policy"], len(state))
            leave_out(policy, absent)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is no valid policy file: {error}") from error
        policy.load_state_dict(state)
        if config[_NORMALIZATION] is not None:
            warnings.warn(
                f"The policy of {path} {_NORMALISED}: wrap its environments by sb3_qflex.export.load_vec_normalize.",
                stacklevel=2,
            )
        return policy.to(get_device(device))

    @classmethod
    def pretrained(
        cls: type[SelfPolicy], id: str, folder: str | Path | None = None, device: th.device | str = "auto"
    ) -> SelfPolicy:
        """
        A policy that was trained already, for the plain loop of its task: it takes the observations of ``gym.make``
        as they are, and normalises them itself where it was trained so. ``sb3-qflex pretrained list`` names them.

        :param id: Its id.
        :param folder: Where its files are; by default the package's own folder, or the one that the environment
            variable ``SB3_QFLEX_PRETRAINED`` names.
        :param device: Device on which the policy should run.
        :raises ValueError: If the id is unknown, a file is not the one that the index describes, or the policy is of
            another class.
        :raises FileNotFoundError: If its file is not there, with what to do.
        """
        found = Collection(folder)
        entry = found.find(id)
        kind = resolve_name(entry.policy_class)
        if not (isinstance(kind, type) and issubclass(kind, cls)):
            raise ValueError(
                f"{id} is a {entry.policy_class.partition(':')[2]} and no {cls.__name__}: load it by that."
            )
        file = found.file(entry, SUFFIX)
        with normalisation_known():
            policy = kind.load(file, device)
        policy.normalizer = _normalizer_of(file, policy)
        return policy


@contextmanager
def normalisation_known() -> Iterator[None]:
    """Inside the ``with``, loading a policy does not tell that it needs its observations normalised."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".*{_NORMALISED}")
        yield


class _Spaces(gym.Env):
    """Spaces alone, which is all that VecNormalize needs of an environment to normalise observations."""

    def __init__(self, policy: Policy):
        self.observation_space, self.action_space = policy.observation_space, policy.action_space


def _normalizer_of(file: Path, policy: Policy) -> VecNormalize | None:
    config, _ = _read(file)
    if config[_NORMALIZATION] is None:
        return None
    return load_vec_normalize(file, DummyVecEnv([lambda: _Spaces(policy)]))


def _to_bytes(
    policy: Policy, vec_normalize: VecNormalize | None, task: str | None, storage: Mapping[str, Any]
) -> bytes:
    arguments, state = config_to_json(policy), policy.state_dict()
    _check_remade(policy, arguments, state)
    absent = tuple(f"{name}." for name in storage["left_out"])
    state = {name: value.detach().cpu().contiguous() for name, value in state.items() if not name.startswith(absent)}
    tensors = {f"policy.{name}": value for name, value in stored(state, storage["matrices"]).items()}
    config: dict[str, Any] = {
        "policy": arguments,
        "stored": storage,
        "task": task or "",
        "versions": policy_versions(),
    }
    config[_NORMALIZATION] = None
    # None without norm_obs: such a policy takes raw observations.
    found = statistics(vec_normalize, policy.observation_space)
    if vec_normalize is not None and found:
        for name, rms in found.items():
            values = (rms.mean, rms.var, rms.count)
            for key, value in zip(_STATISTICS, values, strict=True):
                tensors[f"{_NORMALIZATION}.{name}.{key}"] = th.as_tensor(np.asarray(value, np.float64))
        config[_NORMALIZATION] = {
            "keys": list(found),
            "epsilon": float(vec_normalize.epsilon),
            "clip_obs": float(vec_normalize.clip_obs),
        }
    text = json.dumps(config, allow_nan=False)
    header = {"version": FORMAT_VERSION, "config": text, "sha256": _digest(text, tensors)}
    from safetensors.torch import save  # loaded by files alone: every policy imports this module

    # One entry: safetensors would write several in any order, and equal policies shall have equal files.
    return save(tensors, {HEADER: json.dumps(header)})


def load_vec_normalize(path: str | Path, venv: VecEnv) -> VecNormalize:
    """
    The VecNormalize that belongs to the policy of a file, for evaluation: its statistics stay as they are.

    :param path: The policy file.
    :param venv: Environments to wrap.
    :raises ValueError: If the file has no such statistics, or they do not fit the environments.
    """
    config, tensors = _read(path)
    given = config[_NORMALIZATION]
    if given is None:
        raise ValueError(f"{path} has no statistics of VecNormalize: its policy takes raw observations.")
    found = {name: _running_mean_std(tensors, name) for name in given["keys"]}
    check_statistics(found, venv.observation_space)
    is_dict = isinstance(venv.observation_space, spaces.Dict)
    wrapped = VecNormalize(
        venv,
        training=False,
        norm_reward=False,
        epsilon=given["epsilon"],
        clip_obs=given["clip_obs"],
        norm_obs_keys=given["keys"] if is_dict else None,
    )
    rms: Any = found if is_dict else found[OBS]
    wrapped.obs_rms = rms
    return wrapped


def _running_mean_std(tensors: Mapping[str, th.Tensor], name: str) -> RunningMeanStd:
    mean, var, count = (tensors[f"{_NORMALIZATION}.{name}.{key}"].numpy() for key in _STATISTICS)
    rms = RunningMeanStd(shape=mean.shape)
    rms.mean, rms.var, rms.count = mean, var, float(count)
    return rms


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, th.Tensor]]:
    """Configuration and tensors of a file that is whole."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no policy file {path}.")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path} is no whole policy file ({error}). load reads files of export_policy, which are "
            "safetensors, and of save."
        ) from error
    if header is None:
        raise ValueError(f"{path} holds tensors, but not a policy of sb3_qflex.")
    try:
        config = json.loads(_checked_text(json.loads(header), tensors))
        if not isinstance(config, dict) or not {"policy", _NORMALIZATION} <= config.keys():
            raise ValueError("its configuration has no 'policy' and 'vec_normalize'")
        check_stored(config.setdefault("stored", WHOLE))
        _check_normalization(config[_NORMALIZATION], tensors)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid policy file: {error}") from error
    return config, tensors


def _checked_text(header: Any, tensors: Mapping[str, th.Tensor]) -> str:
    """The configuration of a file, if its format is known and its content undamaged."""
    if not isinstance(header, dict) or not {"version", "config", "sha256"} <= header.keys():
        raise ValueError("its header has no 'version', 'config' and 'sha256'")
    if header["version"] != FORMAT_VERSION:
        raise ValueError(
            f"it has version {header['version']!r} of the policy format, and this sb3_qflex reads version "
            f"{FORMAT_VERSION}: use the sb3_qflex that wrote it, or a newer one"
        )
    text = str(header["config"])
    if header["sha256"] != _digest(text, tensors):
        raise ValueError("it is damaged: the content does not have the checksum in its header")
    return text


def _check_normalization(given: Any, tensors: Mapping[str, th.Tensor]) -> None:
    expected = set()
    if given is not None:
        if not isinstance(given, dict) or given.keys() != {"keys", "epsilon", "clip_obs"}:
            raise ValueError("'vec_normalize' has to be null or have 'keys', 'epsilon' and 'clip_obs'")
        if not isinstance(given["keys"], list) or not all(isinstance(given[n], float) for n in ("epsilon", "clip_obs")):
            raise ValueError("'keys' of 'vec_normalize' has to be a list, 'epsilon' and 'clip_obs' floats")
        expected = {f"{_NORMALIZATION}.{name}.{key}" for name in given["keys"] for key in _STATISTICS}
    found = {name for name in tensors if not name.startswith("policy.")}
    if found != expected:
        raise ValueError(f"the tensors {sorted(found ^ expected)[:5]} are missing or too many")
    for name in found:
        if tensors[name].dtype != th.float64 or (name.endswith(".count") and tensors[name].ndim != 0):
            raise ValueError(f"{name} has to be float64, and a count a single number")


def _without_memory(cls: type[AnyPolicy], arguments: Any, n_tensors: int, absent: Sequence[str]) -> AnyPolicy:
    """On the meta device, which allocates nothing: a file may ask for networks of any size."""
    with th.device("meta"):
        policy = policy_from_config(cls, arguments, n_tensors)
    leave_out(policy, absent)
    return policy


def _check_remade(policy: Policy, arguments: Any, state: Mapping[str, th.Tensor]) -> None:
    """Whether the policy that a reader will make of the arguments is this one."""
    refuse_hooks(policy)
    made = _without_memory(type(policy), arguments, len(state), left_out(policy))
    kinds, made_kinds = ({name: type(part) for name, part in one.named_modules()} for one in (policy, made))
    changed = sorted(name for name in kinds.keys() | made_kinds if kinds.get(name) is not made_kinds.get(name))
    if changed:
        raise UnsupportedError(
            f"A policy file cannot carry networks that were changed after they were made, here {changed[0]}: undo it "
            "(th.nn.utils.parametrize.remove_parametrizations leaves the weight that a parametrization computes), or "
            "use export_onnx."
        )
    _check_state(made.state_dict(), state)


def _check_state(expected: Mapping[str, th.Tensor], found: Mapping[str, th.Tensor]) -> None:
    """Names, shapes and dtypes, exactly."""
    if expected.keys() != found.keys():
        missing, more = sorted(expected.keys() - found.keys())[:3], sorted(found.keys() - expected.keys())[:3]
        raise ValueError(f"its tensors are not those of its networks: missing {missing}, unknown {more}")
    for name, value in expected.items():
        given = found[name]
        if given.shape != value.shape or given.dtype != value.dtype:
            raise ValueError(
                f"{name} is {given.dtype} of shape {tuple(given.shape)}, and its networks need {value.dtype} of shape "
                f"{tuple(value.shape)}"
            )


def _digest(config: str, tensors: Mapping[str, th.Tensor]) -> str:
    """Checksum against damage, not against forgery."""
    sha = hashlib.sha256(config.encode(errors="surrogatepass"))
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.reshape(-1).view(th.uint8).numpy().tobytes())
    return sha.hexdigest()
