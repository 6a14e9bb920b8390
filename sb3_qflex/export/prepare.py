"""What every exported form of a model begins with: the policy as one function, and what the file says about itself."""

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.common.versions import policy_versions
from sb3_qflex.export.observations import NOISE, load_vec_normalize
from sb3_qflex.export.policy_module import ExportedPolicy


class Prepared(NamedTuple):
    """The policy as a function of raw observations, and its metadata: text, or JSON where it is more than a word."""

    policy: ExportedPolicy
    metadata: dict[str, str]


def prepare(
    model: OffPolicyAlgorithm,
    vec_normalize: VecNormalize | str | Path | None,
    noise: bool,
    task: str | None,
    options: dict[str, Any],
    *packages: str,
) -> Prepared:
    """
    :param model: The model.
    :param vec_normalize: Statistics to fold in or their file; None for those of the model's environment, if any.
    :param noise: Whether the last input is noise.
    :param task: Id of the task; None for that of the model's environment.
    :param options: Of the policy's exported form.
    :param packages: Further distributions whose version the metadata names.
    :raises ValueError: For what has no exported form.
    """
    if vec_normalize is None:
        vec_normalize = model.get_vec_normalize_env()
    elif not isinstance(vec_normalize, VecNormalize):
        vec_normalize = load_vec_normalize(vec_normalize)
    policy = ExportedPolicy(model.policy, vec_normalize, noise, **options)
    return Prepared(policy, _describe(policy, model, task or task_of(model) or "", policy_versions(*packages)))


def task_of(model: OffPolicyAlgorithm) -> str | None:
    """
    Id of the task that the model's environments were registered under; None where that is not known.

    :param model: The model.
    """
    if model.env is None:
        return None
    try:
        spec = model.env.get_attr("spec")[0]
    except AttributeError:
        return None
    return getattr(spec, "id", None)


def _describe(
    exported: ExportedPolicy, model: OffPolicyAlgorithm, task: str, found_versions: dict[str, str]
) -> dict[str, str]:
    inputs = {name: encoder.dim for name, encoder in zip(exported.names, exported.encoders, strict=True)}
    box = cast(spaces.Box, model.policy.action_space)
    content: dict[str, Any] = {
        "algorithm": type(model).__name__,
        "task": task,
        "inputs": inputs | ({NOISE: exported.head.noise_dim} if exported.takes_noise else {}),
        "obs_dim": sum(inputs.values()),
        "act_dim": exported.action_dim,
        "action_low": box.low.ravel().tolist(),
        "action_high": box.high.ravel().tolist(),
        **exported.head.metadata,
        "deterministic": not exported.takes_noise,
        "observations_normalised": exported.normalizes,
        "versions": found_versions,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}
