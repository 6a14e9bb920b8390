"""What an exported file says about itself."""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import sb3_qflex
from sb3_qflex.export.policy_module import ExportedPolicy
from sb3_qflex.policies import QFlexPolicy
from sb3_qflex.qflex import QFlex

_PACKAGES = ("stable_baselines3", "torch", "numpy", "gymnasium")


def versions(*more: str) -> dict[str, str]:
    """
    Versions of this package and of those that a policy depends on.

    :param more: Further distributions; those not installed are left out.
    """
    found = {"sb3_qflex": sb3_qflex.__version__}
    for name in (*_PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def task_of(model: QFlex) -> str | None:
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


def describe(exported: ExportedPolicy, policy: QFlexPolicy, task: str | None, *packages: str) -> dict[str, str]:
    """
    Metadata of an exported policy: values are text, and JSON where they are not a single word.

    :param exported: What is in the file.
    :param policy: What it was made of.
    :param task: Id of the environment.
    :param packages: Further distributions whose version matters.
    """
    inputs = {name: encoder.dim for name, encoder in zip(exported.names, exported.encoders, strict=True)}
    if exported.takes_noise:
        inputs["noise"] = exported.action_dim
    content: dict[str, Any] = {
        "algorithm": "QFlex",
        "task": task or "",
        "inputs": inputs,
        "obs_dim": sum(encoder.dim for encoder in exported.encoders),
        "act_dim": exported.action_dim,
        "action_low": policy.action_space.low.ravel().tolist(),
        "action_high": policy.action_space.high.ravel().tolist(),
        "exploration": exported.exploration,
        "flow_steps": exported.flow_steps if exported.exploration == "flow" else 0,
        "deterministic": not exported.takes_noise,
        "observations_normalised": bool(exported.normalizes),
        "versions": versions(*packages),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}
