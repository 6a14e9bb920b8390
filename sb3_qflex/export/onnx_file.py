"""ONNX files of a policy: written atomically, with what they are in their metadata."""

from pathlib import Path
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.export.prepare import prepare


def export_onnx(
    model: OffPolicyAlgorithm,
    path: str | Path,
    *,
    vec_normalize: VecNormalize | str | Path | None = None,
    noise: bool = False,
    task: str | None = None,
    **options: Any,
) -> Path:
    """
    Write ``predict(deterministic=True)`` as one ONNX file (opset 17) that needs nothing else.

    Input ``obs``, float32 (batch, obs_dim), raw and flattened; for Dict observations one input for each key, named as
    it. Discrete observations are a column of numbers. Output ``action``, float32 (batch, |A|), in the Box of the
    environment. The batch is dynamic, and nothing in the graph is random. Inputs are not checked: nan in an
    observation gives nan in its action.

    :param model: The model, whose policy has an exported form.
    :param path: Target; gets the suffix .onnx if it has none. An older file is replaced, atomically.
    :param vec_normalize: Statistics to fold in, or the file that ``VecNormalize.save`` wrote; by default those of the
        model's environment, if it has any.
    :param noise: Whether to write the stochastic policy, whose last input is ``noise``: standard normal, float32
        (batch, |A|) for a Gaussian policy.
    :param task: Id of the task for the metadata; by default that of the model's environment.
    :param options: Of the policy's own: ``flow_steps`` of QFlex, for another K than the model's.
    :return: The file.
    :raises ImportError: Without onnx.
    :raises ValueError: For what has no exported form, such as ``exploration="ascent"``.
    """
    onnx_graph = _onnx_graph()
    policy, metadata = prepare(model, vec_normalize, noise, task, options, "onnx")
    proto = onnx_graph.build_model(policy)
    proto.producer_name = "sb3_qflex"
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    content = proto.SerializeToString()
    return write_atomically(path, lambda file: file.write(content), "onnx")


def _onnx_graph() -> Any:
    try:
        from sb3_qflex.export import onnx_graph
    except ImportError as error:
        raise ImportError(f"Export to ONNX needs onnx ({error}): pip install 'sb3-qflex[export]'") from error
    return onnx_graph


def onnx_session(path: str | Path, threads: int = 1) -> Any:
    """
    An ``onnxruntime.InferenceSession`` with the options that make a single action fast.

    The matrices of a policy are too small to be shared among threads, and by default onnxruntime makes a copy of the
    flow's weights for each of the K steps, which then do not fit into the processor's caches.

    :param path: The ONNX file.
    :param threads: Threads of one operator.
    :raises ImportError: Without onnxruntime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"Running ONNX files needs the package onnxruntime ({error}): pip install 'sb3-qflex[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
