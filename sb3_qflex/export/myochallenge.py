"""A folder with what a MyoChallenge submission needs of a policy: the ONNX file, and what to know about it."""

import json
from pathlib import Path
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.export.onnx_file import export_onnx

POLICY, METADATA = "policy.onnx", "metadata.json"


def export_myochallenge(model: OffPolicyAlgorithm, folder: str | Path, **options: Any) -> Path:
    """
    Write ``policy.onnx`` and ``metadata.json`` into a folder.

    ``myosuite-export-onnx verify`` plays the file. MyoSuite documents no Python entry point of a submission, so none
    is written: the evaluation of each year says what to add.

    :param model: The model, on a MyoSuite task: one Box of observations.
    :param folder: The folder; made if it does not exist.
    :param options: Of :func:`sb3_qflex.export.export_onnx`; ``noise`` is not allowed.
    :return: The folder.
    :raises ValueError: If the model has Dict observations or is to take noise: MyoSuite feeds one vector.
    """
    if options.get("noise"):
        raise ValueError("A submission is played with observations alone: leave out noise.")
    if model.observation_space.shape is None:
        raise ValueError(
            f"MyoSuite plays policies of one observation vector, and this model observes {model.observation_space}."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    onnx_file = export_onnx(model, folder / POLICY, **options)
    metadata = json.dumps(read_metadata(onnx_file), indent=2) + "\n"
    write_atomically(folder / METADATA, lambda file: file.write(metadata.encode()), "json")
    return folder


def read_metadata(path: str | Path) -> dict[str, str]:
    """
    Metadata of an ONNX file.

    :param path: The file.
    :raises ImportError: Without onnx.
    """
    import onnx

    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
