"""``sb3-qflex export``: a saved model as a file for somewhere else."""

import argparse
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from sb3_qflex import export
from sb3_qflex.cli.arguments import told

FORMATS = ("onnx", "torchscript", "policy", "myochallenge")
#: RL Zoo's name of the statistics.
_VEC_NORMALIZE = "vecnormalize.pkl"


def main(prog: str, argv: Sequence[str]) -> None:
    """Write a model's policy and print where it is."""
    parser = argparse.ArgumentParser(
        prog,
        description="Write a trained policy as a file for use elsewhere. Models and VecNormalize files are pickles: "
        "export only those you trust.",
    )
    add = parser.add_argument
    add("model", type=Path, help="zip file of model.save, or a run folder of RL Zoo (its last model)")
    add("--format", choices=FORMATS, required=True, help="%(choices)s")
    add("--out", type=Path, required=True, help="target: a file, for myochallenge a folder")
    normalization = parser.add_mutually_exclusive_group()
    statistics = f"statistics of VecNormalize (default: {_VEC_NORMALIZE} of the model's RL Zoo folder, if there is one)"
    normalization.add_argument("--vec-normalize", type=Path, metavar="FILE", help=statistics)
    normalization.add_argument("--no-vec-normalize", action="store_true", help="raw observations go to the networks")
    add("--flow-steps", type=int, metavar="K", help="another K than the model's")
    add("--noise", action="store_true", help="onnx, torchscript: stochastic, with noise as an input")
    add("--storage", choices=("float32", "float16"), default="float32", help="policy, onnx: of the matrices")
    add("--acting-only", action="store_true", help="policy: without networks that only training needs")
    add("--task", help="id of the task, for the metadata (default: that of the RL Zoo folder)")
    arguments = parser.parse_args(argv)
    with told(ValueError, ImportError, OSError):
        print(f"Wrote {_export(arguments)}")


def _export(arguments: argparse.Namespace) -> Path:
    from sb3_qflex.export.policy_file import ShareablePolicy

    zip_file = find_model(arguments.model)
    if arguments.out.resolve() == zip_file.resolve():
        raise ValueError(f"--out {arguments.out} is the model itself: choose another file.")
    task = arguments.task or _zoo_task(zip_file.parent)
    options: dict[str, Any] = {"vec_normalize": _statistics(arguments, zip_file), "task": task}
    if arguments.noise:
        if arguments.format == "policy":
            raise ValueError("A policy file has no --noise: its predict is deterministic or not as it is called.")
        options["noise"] = True
    if arguments.storage != "float32":
        if arguments.format == "torchscript":
            raise ValueError("A TorchScript file has no --storage: its matrices are float32.")
        options["storage"] = arguments.storage
    if arguments.acting_only:
        if arguments.format != "policy":
            raise ValueError("--acting-only is for policy files: the others hold what acts alone anyway.")
        options["acting_only"] = True
    model = _load(zip_file, arguments.flow_steps)
    if arguments.format == "policy":
        if not isinstance(model.policy, ShareablePolicy):
            raise ValueError(f"A {type(model.policy).__name__} has no policy file: use onnx or torchscript.")
        return model.policy.export_policy(arguments.out, **options)
    return getattr(export, f"export_{arguments.format}")(model, arguments.out, **options)


def _statistics(arguments: argparse.Namespace, model: Path) -> Any:
    from sb3_qflex.export import observations

    file = arguments.vec_normalize
    if file is None and not arguments.no_vec_normalize:
        file = find_vec_normalize(model)
    print("Observations are taken as they are." if file is None else f"Observations are normalised with {file}.")
    return None if file is None else observations.unpickled_vec_normalize(file)


def _load(zip_file: Path, flow_steps: int | None) -> Any:
    from sb3_qflex.analysis.trained import algorithm_of
    from sb3_qflex.export.exportable import Exportable

    algorithm = algorithm_of(zip_file)
    if not issubclass(algorithm, Exportable):
        raise ValueError(
            f"{zip_file} is a {algorithm.__name__} model: only algorithms of this package without a recurrent policy "
            "are exported."
        )
    if flow_steps is None:
        return algorithm.load(zip_file, device="cpu")
    if "flow_steps" not in signature(algorithm).parameters:
        raise ValueError(f"{zip_file} is a {algorithm.__name__} model, which has no flow: leave out --flow-steps.")
    return algorithm.load(zip_file, device="cpu", flow_steps=flow_steps)


def find_model(path: Path) -> Path:
    """The file of a model, or of the last model of a run folder of RL Zoo."""
    if not path.is_dir():
        return path
    task = _zoo_task(path)
    if task is None:
        raise ValueError(f"{path} is no run folder of RL Zoo (no <environment>/config.yml): give a zip file.")
    return path / f"{task}.zip"


def find_vec_normalize(model: Path) -> Path | None:
    """Statistics beside a model, or in the folder there where RL Zoo keeps a run's settings; None for none."""
    zoo = (file for file in model.parent.glob(f"*/{_VEC_NORMALIZE}") if file.with_name("config.yml").exists())
    found = [*model.parent.glob(_VEC_NORMALIZE), *zoo]
    if len(found) > 1:
        raise ValueError(
            f"Which statistics belong to {model}? Found {', '.join(map(str, found))}: choose one with --vec-normalize, "
            "or --no-vec-normalize."
        )
    return found[0] if found else None


def _zoo_task(folder: Path) -> str | None:
    found = [path.parent.name for path in folder.glob("*/config.yml")]
    return found[0] if len(found) == 1 else None
