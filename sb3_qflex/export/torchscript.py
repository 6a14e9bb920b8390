"""TorchScript files of a policy, which libtorch loads from C++ without Python."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.policy_module import ExportedPolicy, prepare

#: Name of the extra file with the metadata, for ``torch.jit.load(..., _extra_files=...)``.
METADATA = "metadata.json"


def export_torchscript(model: BaseAlgorithm, path: str | Path, **options: Any) -> Path:
    """
    Write ``predict(deterministic=True)`` as a TorchScript file.

    Takes and returns the same tensors as the ONNX file of :func:`sb3_qflex.export.export_onnx`, the inputs by position:
    observations in the order of ``inputs`` in the metadata, then the noise, if any.

    :param model: The model, whose policy has an exported form.
    :param path: Target; gets the suffix .pt if it has none. An older file is replaced, atomically.
    :param options: ``vec_normalize``, ``noise``, ``task`` and the policy's own, as for
        :func:`sb3_qflex.export.export_onnx`.
    :return: The file.
    :raises ValueError: For what has no exported form, such as ``exploration="ascent"``.
    """
    policy, metadata = prepare(model, **options)
    script = trace(policy)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        th.jit.save(script, stream, _extra_files={METADATA: json.dumps(metadata)})
    return write_atomically(path, stream.getbuffer(), "pt")


def trace(exported: ExportedPolicy) -> th.jit.ScriptModule:
    """The policy as TorchScript, its weights constants of the code; a ValueError for what cannot be traced."""
    dims = [encoder.dim for encoder in exported.encoders]
    dims += [exported.head.noise_dim] if exported.takes_noise else []
    # Two rows: an operation that fixes the batch to what it saw would show in the check below.
    examples = tuple(th.zeros(2, dim, dtype=th.float32) for dim in dims)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("error", th.jit.TracerWarning)
            traced = th.jit.freeze(th.jit.trace(exported, examples))
            traced(*(th.zeros(1, dim, dtype=th.float32) for dim in dims))
    except Exception as error:
        extractors = ", ".join(one.title for one in exported.extractors)
        raise UnsupportedError(
            f"The policy cannot be traced, because of its features extractor {extractors}: {error}"
        ) from error
    return traced
