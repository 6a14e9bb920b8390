"""A trained run as a policy of the index: exported, evaluated from its file, and entered."""

import json
import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.analysis.evaluation import EPISODES, SEED
from sb3_qflex.analysis.pretrained import Pretrained, as_played, load_pretrained, packages_of, play
from sb3_qflex.analysis.trained import Trained, load, run_arguments
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export import observations
from sb3_qflex.export.onnx_file import export_onnx
from sb3_qflex.export.policy_file import SUFFIX, ShareablePolicy, normalisation_known
from sb3_qflex.pretrained.index import HOME, MOST_BYTES, Collection, Entry, Played, PretrainedError, describe_file
from sb3_qflex.zoo.listed import last_part, listed
from sb3_qflex.zoo.task_steps import repeat_of, task_steps, until_of

#: Wrappers of training that change neither what the policy sees nor what its actions do.
TRAINING_ONLY = (
    "ActionRepeat",
    "AliveBonus",
    "Monitor",
    "MuscleSensors",
    "MyoTask",
    "SparseReward",
    "SuccessAtAnyStep",
    "WithoutModelSource",
)
#: What a study notes of a run, in the run's folder or one above.
_MEASURED, _LEVELS = "measured.json", 4
_NOT_YET = Played(0, 0, (0, 0, 0), 0, None, None, "", {})


@dataclass(frozen=True)
class Request:
    """
    What is to be added, and what its run does not say itself.

    :param id: name of the policy
    :param run: run folder of RL Zoo, or a model's zip file
    :param folder: of policies, the package's own by default
    :param environment: id of the task, for a zip file outside of a run folder
    :param env_kwargs: arguments of the task, in place of the run's of the same names
    :param vec_normalize: file of statistics, for a zip file outside of a run folder
    :param command: that trained it, in place of the run's ``command.txt``
    :param cpu_minutes: of the training, in place of what a study measured
    :param storage: of the matrices
    :param report: page with the training's curves, relative to the documentation's folder
    :param camera: for its picture
    :param overwrite: whether to replace a policy of that name
    :param episodes: of the evaluation
    :param seed: of its first episode
    """

    id: str
    run: Path
    folder: Path = HOME
    environment: str | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    vec_normalize: Path | None = None
    command: str | None = None
    cpu_minutes: float | None = None
    storage: str = "float16"
    report: str = ""
    camera: str = ""
    overwrite: bool = False
    episodes: int = EPISODES
    seed: int = SEED


def add(request: Request) -> Entry:
    """
    Export the policy of a run, evaluate it from its file in the plain loop of its task, and enter it in the index.

    :param request: what is to be added
    :return: its entry
    :raises PretrainedError: if something about it is not known, its name is taken, or a file is too large
    :raises ModelError: if there is no such model
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", request.id):
        raise PretrainedError(
            f"--id {request.id}: lower-case letters, digits and single '-' between them, it names files."
        )
    if not request.overwrite and request.folder.is_dir():
        Collection(request.folder).check_free(request.id)
    trained = load(request.run, request.environment, env_kwargs=request.env_kwargs)
    if not isinstance(trained.model, Algorithm) or not isinstance(trained.model.policy, ShareablePolicy):
        raise PretrainedError(f"{trained.label}: only algorithms of this package have policy files.")
    entry = _entry(request, trained)
    with tempfile.TemporaryDirectory() as aside:
        entry = replace(entry, files=_export(request, trained.model, Path(aside)))
        Collection(aside).add(entry)
        found = load_pretrained(entry.id, Path(aside))
        _check_spaces(found)
        entry = replace(entry, played=as_played(play(found, request.episodes, request.seed), request.seed))
        request.folder.mkdir(parents=True, exist_ok=True)
        for suffix in entry.files:
            shutil.copy(Path(aside) / f"{entry.id}{suffix}", request.folder)
    Collection(request.folder).add(entry)
    return entry


def _entry(request: Request, trained: Trained) -> Entry:
    """All but files and evaluation."""
    arguments = run_arguments(trained.folder) if trained.folder else None
    policy, seed = trained.model.policy, (arguments or {}).get("seed", trained.model.seed)
    if seed is None or seed < 0:
        raise PretrainedError(f"{trained.label} was trained without a seed: nobody could repeat it.")
    for name in ("frame_stack", "vec_env_wrapper"):
        if trained.task.hyperparams.get(name):
            raise PretrainedError(f"{trained.label} was trained with {name}, which the plain loop of a task has not.")
    wrappers = listed(trained.task.hyperparams.get("env_wrapper"))
    kept = [{name: options} if options else name for name, options in wrappers if last_part(name) not in TRAINING_ONLY]
    return Entry(
        id=request.id,
        environment=trained.task.env_id,
        env_kwargs=trained.task.env_kwargs,
        wrappers=kept,
        packages=packages_of(trained.task.env_id),
        algorithm=type(trained.model).__name__,
        policy_class=f"{type(policy).__module__}:{type(policy).__qualname__}",
        command=request.command or _command_of(arguments),
        seed=seed,
        steps=_frames(trained),
        cpu_minutes=round(_cpu_minutes(request), 1),
        storage=request.storage,
        files={},
        played=_NOT_YET,
        report=request.report,
        camera=request.camera,
    )


def _frames(trained: Trained) -> int:
    """Steps of the task that the steps of a model stand for."""
    model, hyperparams = trained.model, trained.task.hyperparams
    assert isinstance(model, Algorithm)  # add() saw to it
    still_held = (until_of(hyperparams.get("callback")) or {}).get("still_held", 0.0)
    repeat = repeat_of(hyperparams.get("env_wrapper"))
    return int(task_steps(np.array(model.num_timesteps), repeat, model.repeat_ended_at, still_held))


def _command_of(arguments: dict[str, Any] | None) -> str:
    file = None if arguments is None else arguments["stats_folder"] / "command.txt"
    command = file.read_text().strip() if file is not None and file.is_file() else ""
    if not command or any(os.path.isabs(word) for word in shlex.split(command)):
        raise PretrainedError(f"Say with --command what others can type to train it; the run says {command!r}.")
    return command


def _cpu_minutes(request: Request) -> float:
    if request.cpu_minutes is not None:
        return request.cpu_minutes
    for folder in [request.run, *request.run.resolve().parents][: _LEVELS + 1]:
        if (folder / _MEASURED).is_file():
            return float(json.loads((folder / _MEASURED).read_text())["cpu seconds"]) / 60
    raise PretrainedError(f"Say with --cpu-minutes what the training took: {request.run} is no run of a study.")


def _export(request: Request, model: Algorithm, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the files, and describe them."""
    policy, path = model.policy, folder / request.id
    vec_normalize = _statistics(request, model)
    options: dict[str, Any] = {"vec_normalize": vec_normalize, "storage": request.storage}
    assert isinstance(policy, ShareablePolicy)
    file = policy.export_policy(path.with_suffix(SUFFIX), **options, acting_only=True)
    files = {SUFFIX: describe_file(file)}
    # The weights that act, so that both files are of one policy.
    with normalisation_known():
        policy.load_state_dict(type(policy).load(file, device="cpu").state_dict(), strict=False)
    try:
        files[".onnx"] = describe_file(export_onnx(model, path.with_suffix(".onnx"), **options))
    except UnsupportedError as error:
        print(f"Without ONNX: {error}")
    for suffix, one in files.items():
        if one["bytes"] > MOST_BYTES:
            raise PretrainedError(
                f"{request.id}{suffix} has {one['bytes']} bytes, more than {MOST_BYTES}: choose --storage float16 or "
                "train smaller networks."
            )
    return files


def _statistics(request: Request, model: Algorithm) -> VecNormalize | None:
    if request.vec_normalize is not None:
        return observations.unpickled_vec_normalize(request.vec_normalize)
    return model.get_vec_normalize_env()


def _check_spaces(found: Pretrained) -> None:
    env = found.task.make()
    for name in ("observation_space", "action_space"):
        plain, own = getattr(env, name), getattr(found.policy, name)
        if type(plain) is not type(own) or plain.shape != own.shape:
            raise PretrainedError(
                f"{found.entry.id}: the {name} of {found.entry.environment} is {plain}, and the policy has {own}."
            )
    env.close()
