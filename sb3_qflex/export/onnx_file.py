"""ONNX files of a policy: written atomically, with what they are in their metadata."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.export.policy_module import prepare


def _import(module: str, needs: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{needs} ({error}): pip install 'sb3-qflex[export]'") from error


def export_onnx(
    model: BaseAlgorithm,
    path: str | Path,
    *,
    vec_normalize: VecNormalize | str | Path | None = None,
    noise: bool = False,
    task: str | None = None,
    storage: str = "float32",
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
    :param storage: "float32", or "float16" for files of half the size: matrices are rounded to 11 significant bits
        after everything was folded into them, and used in float32.
    :param options: Of the policy's own: ``flow_steps`` of QFlex, for another K than the model's.
    :return: The file.
    :raises ImportError: Without onnx.
    :raises ValueError: For what has no exported form, such as ``exploration="ascent"``.
    """
    return _write(model, path, vec_normalize=vec_normalize, noise=noise, task=task, storage=storage, **options)[0]


def _write(
    model: BaseAlgorithm, path: str | Path, storage: str = "float32", **options: Any
) -> tuple[Path, dict[str, str]]:
    """The file, and its metadata."""
    onnx_graph = _import("sb3_qflex.export.onnx_graph", "Export to ONNX needs onnx")
    policy, metadata = prepare(model, "onnx", **options)
    proto = onnx_graph.build_model(policy, storage)
    proto.producer_name = "sb3_qflex"
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    content = proto.SerializeToString()
    return write_atomically(path, content, "onnx"), metadata


def export_myochallenge(model: BaseAlgorithm, folder: str | Path, **options: Any) -> Path:
    """
    Write what a MyoChallenge submission needs of a policy: ``policy.onnx`` and ``metadata.json`` in a folder.

    ``myosuite-export-onnx verify`` plays the file. MyoSuite documents no Python entry point of a submission, so none
    is written: the evaluation of each year says what to add.

    :param model: The model, on a MyoSuite task: one Box of observations.
    :param folder: The folder; made if it does not exist.
    :param options: Of :func:`sb3_qflex.export.export_onnx`; ``noise`` is not allowed.
    :return: The folder.
    :raises ValueError: If the model has Dict observations or is to take noise: MyoSuite feeds one vector; or the folder
        has a ``metadata.json`` that this did not write.
    """
    if options.get("noise"):
        raise ValueError("A submission is played with observations alone: leave out noise.")
    if model.observation_space.shape is None:
        raise ValueError(
            f"MyoSuite plays policies of one observation vector, and this model observes {model.observation_space}."
        )
    folder = Path(folder)
    _check_ours(folder / "metadata.json")
    folder.mkdir(parents=True, exist_ok=True)
    _, metadata = _write(model, folder / "policy.onnx", **options)
    text = json.dumps(metadata, indent=2) + "\n"
    write_atomically(folder / "metadata.json", text.encode(), "json")
    return folder


def _check_ours(metadata: Path) -> None:
    """A ValueError for a file that is there and has not what :func:`export_myochallenge` writes."""
    if not metadata.exists():
        return
    try:
        known = json.loads(metadata.read_text())
    except ValueError:
        known = None
    if not (isinstance(known, dict) and "action_low" in known):
        raise ValueError(f"{metadata} was not written by this function: choose another folder, or move it away.")


def onnx_session(path: str | Path, threads: int = 1) -> Any:
    """
    An ``onnxruntime.InferenceSession`` with the options that make a single action fast.

    The matrices of a policy are too small to be shared among threads, and by default onnxruntime makes a copy of the
    flow's weights for each of the K steps, which then do not fit into the processor's caches.

    :param path: The ONNX file.
    :param threads: Threads of one operator.
    :raises ImportError: Without onnxruntime.
    """
    onnxruntime = _import("onnxruntime", "Running ONNX files needs the package onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
