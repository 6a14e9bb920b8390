"""``python -m sb3_qflex export``: a saved model as a file for somewhere else."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.export.myochallenge import export_myochallenge
from sb3_qflex.export.observations import load_vec_normalize
from sb3_qflex.export.onnx_file import export_onnx
from sb3_qflex.export.torchscript import export_torchscript
from sb3_qflex.qflex.qflex import QFlex

#: RL Zoo's name of the statistics.
_VEC_NORMALIZE = "vecnormalize.pkl"


def _export_policy(model: QFlex, path: Path, vec_normalize: VecNormalize | None, task: str | None) -> Path:
    return model.policy.export_policy(path, vec_normalize, task)


FORMATS: dict[str, Callable[..., Path]] = {
    "onnx": export_onnx,
    "torchscript": export_torchscript,
    "policy": _export_policy,
    "myochallenge": export_myochallenge,
}


def main(argv: Sequence[str]) -> None:
    """
    Run the command.

    :param argv: The arguments after "export".
    """
    arguments = _parser().parse_args(argv)
    try:
        print(f"Wrote {_export(arguments)}")
    except (ValueError, ImportError, OSError) as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m sb3_qflex export",
        description="Write a trained policy as a file for use elsewhere. Models and VecNormalize files are pickles: "
        "export only those you trust.",
    )
    parser.add_argument("model", type=Path, help="zip file of model.save, or a run folder of RL Zoo (its last model)")
    parser.add_argument("--format", choices=FORMATS, required=True, help="%(choices)s")
    parser.add_argument("--out", type=Path, required=True, help="target: a file, for myochallenge a folder")
    normalization = parser.add_mutually_exclusive_group()
    normalization.add_argument(
        "--vec-normalize",
        type=Path,
        metavar="FILE",
        help=f"statistics of VecNormalize (default: {_VEC_NORMALIZE} of the model's RL Zoo folder, if there is one)",
    )
    normalization.add_argument("--no-vec-normalize", action="store_true", help="raw observations go to the networks")
    parser.add_argument("--flow-steps", type=int, metavar="K", help="another K than the model's")
    parser.add_argument("--noise", action="store_true", help="onnx, torchscript: stochastic, with noise as an input")
    parser.add_argument("--task", help="id of the task, for the metadata (default: that of the RL Zoo folder)")
    return parser


def _export(arguments: argparse.Namespace) -> Path:
    changes = {} if arguments.flow_steps is None else {"flow_steps": arguments.flow_steps}
    zip_file = find_model(arguments.model)
    file = arguments.vec_normalize
    if file is None and not arguments.no_vec_normalize:
        file = find_vec_normalize(zip_file)
    vec_normalize = None if file is None else load_vec_normalize(file)
    print("Observations are taken as they are." if file is None else f"Observations are normalised with {file}.")
    options: dict[str, Any] = {"vec_normalize": vec_normalize, "task": arguments.task or _zoo_task(zip_file.parent)}
    if arguments.noise:
        if arguments.format == "policy":
            raise ValueError("A policy file has no --noise: its predict is deterministic or not as it is called.")
        options["noise"] = True
    model = QFlex.load(zip_file, device="cpu", **changes)
    return FORMATS[arguments.format](model, arguments.out, **options)


def find_model(path: Path) -> Path:
    """
    The file of a model.

    :param path: That file, or a run folder of RL Zoo, whose last model it is then.
    :return: The file.
    :raises ValueError: If the folder is no run folder.
    """
    if not path.is_dir():
        return path
    task = _zoo_task(path)
    if task is None:
        raise ValueError(f"{path} is no run folder of RL Zoo (no <environment>/config.yml): give a zip file.")
    return path / f"{task}.zip"


def find_vec_normalize(model: Path) -> Path | None:
    """
    Statistics that RL Zoo saved with a model.

    :param model: The model's file; RL Zoo has them in the folder beside it that is named as the task.
    :return: The file; None if there is none.
    :raises ValueError: If there are several.
    """
    found = [*model.parent.glob(_VEC_NORMALIZE), *model.parent.glob(f"*/{_VEC_NORMALIZE}")]
    if len(found) > 1:
        raise ValueError(
            f"Which statistics belong to {model}? Found {', '.join(map(str, found))}: choose one with --vec-normalize, "
            "or --no-vec-normalize."
        )
    return found[0] if found else None


def _zoo_task(folder: Path) -> str | None:
    found = [path.parent.name for path in folder.glob("*/config.yml")]
    return found[0] if len(found) == 1 else None
