"""TorchScript files of a policy, which libtorch loads from C++ without Python."""

import io
import json
import warnings
from pathlib import Path

import torch as th
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.policy_module import ExportedPolicy
from sb3_qflex.export.prepare import prepare
from sb3_qflex.qflex.qflex import QFlex

#: Name of the extra file with the metadata, for ``torch.jit.load(..., _extra_files=...)``.
METADATA = "metadata.json"


def export_torchscript(
    model: QFlex,
    path: str | Path,
    *,
    vec_normalize: VecNormalize | str | Path | None = None,
    flow_steps: int | None = None,
    noise: bool = False,
    task: str | None = None,
) -> Path:
    """
    Write ``predict(deterministic=True)`` as a TorchScript file.

    Takes and returns the same tensors as the ONNX file of :func:`sb3_qflex.export.export_onnx`, the inputs by position:
    observations in the order of ``inputs`` in the metadata, then the noise, if any.

    :param model: The model.
    :param path: Target; gets the suffix .pt if it has none. An older file is replaced, atomically.
    :param vec_normalize: As for :func:`sb3_qflex.export.export_onnx`.
    :param flow_steps: Another K than the model's.
    :param noise: Whether to write the stochastic policy, with the noise as its last input.
    :param task: Id of the task for the metadata; by default that of the model's environment.
    :return: The file.
    :raises ValueError: For what has no exported form, such as ``exploration="ascent"``.
    """
    policy, metadata = prepare(model, vec_normalize, flow_steps, noise, task)
    script = trace(policy)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        th.jit.save(script, stream, _extra_files={METADATA: json.dumps(metadata)})
    return write_atomically(path, lambda file: file.write(stream.getbuffer()), "pt")


def trace(exported: ExportedPolicy) -> th.jit.ScriptModule:
    """
    The policy as TorchScript, its weights constants of the code.

    :param exported: The policy.
    :raises ValueError: If a features extractor branches on data, or does something else that cannot be traced.
    """
    dims = [encoder.dim for encoder in exported.encoders]
    dims += [exported.action_dim] if exported.takes_noise else []
    # Two rows: an operation that fixes the batch to what it saw would show in the check below.
    examples = tuple(th.zeros(2, dim) for dim in dims)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("error", th.jit.TracerWarning)
            traced = th.jit.freeze(th.jit.trace(exported, examples))
            traced(*(th.zeros(1, dim) for dim in dims))
    except Exception as error:
        raise UnsupportedError(
            f"The policy cannot be traced, because of its features extractor {exported.extractor.title}: {error}"
        ) from error
    return traced
