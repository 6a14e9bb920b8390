"""The files of a shared run, in the layout that RL Zoo's own ``load_from_hub`` reads, and a few more of ours."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import yaml
from huggingface_sb3 import EnvironmentName, ModelName
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from sb3_qflex.common.version import VERSION
from sb3_qflex.hub.card import Evaluation, Shared, model_card
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.run_report.files import RunFiles, read_run
from sb3_qflex.run_report.page import write_page
from sb3_qflex.watch.subject import Subject

POLICY_FILE = "policy.safetensors"


def evaluate(subject: Subject, episodes: int, seed: int, deterministic: bool = True) -> Evaluation:
    """
    :param subject: model and environment
    :param episodes: number of episodes
    :param seed: seed of the environment
    :param deterministic: whether the flow starts at tanh(mean) instead of a sample
    :return: what comes out
    """
    subject.env.unwrapped.seed(seed)
    mean, std = evaluate_policy(subject.model, subject.env, episodes, deterministic)
    return Evaluation(float(mean), float(std), episodes, deterministic, seed)  # type: ignore[arg-type]


def fill(folder: Path, run_folder: Path, model: Path, subject: Subject, evaluation: Evaluation, repo_id: str) -> None:
    """
    Put everything that is shared, but for a video, into a folder.

    :param folder: empty folder
    :param run_folder: of RL Zoo
    :param model: the model in it that is shared
    :param subject: this model and its environment
    :param evaluation: of the model
    :param repo_id: "<organization>/<name>"
    """
    run = read_run(run_folder)
    name = EnvironmentName(run.env_id)
    shutil.copy(model, folder / ModelName(run.algo, name).filename)
    for settings in ("args.yml", "config.yml"):
        shutil.copy(run_folder / name / settings, folder / settings)
    env_kwargs = _env_kwargs(run_folder / name)
    (folder / "env_kwargs.yml").write_text(yaml.dump(env_kwargs))
    (folder / "results.json").write_text(json.dumps(dataclasses.asdict(evaluation), indent=1) + "\n")
    _write_metrics(run_folder, folder / "train_eval_metrics.zip")
    is_normalized = _write_statistics(subject, folder / "vec_normalize.pkl")
    (folder / "report.html").write_text(write_page(_without_files(run), None, folder / "report.html"))
    shared = Shared(
        repo_id=repo_id,
        algo=run.algo,
        algo_class=type(subject.model).__name__,
        env_id=run.env_id,
        steps=subject.model.num_timesteps,
        hyperparams=run.hyperparams,
        env_kwargs=env_kwargs,
        versions={**run.versions, "sb3-qflex (at upload)": VERSION},
        has_policy_file=_write_policy(subject.model, folder / POLICY_FILE, run.env_id, subject),
        is_normalized=is_normalized,
    )
    (folder / "README.md").write_text(model_card(shared, evaluation), encoding="utf-8")


def _env_kwargs(settings: Path) -> dict[str, object]:
    args, config = (
        yaml.load((settings / name).read_text(), Loader=yaml.UnsafeLoader) for name in ("args.yml", "config.yml")
    )
    return {**(dict(config).get("env_kwargs") or {}), **(dict(args).get("env_kwargs") or {})}


def _write_metrics(run_folder: Path, path: Path) -> None:
    files = [run_folder / "evaluations.npz", *sorted(run_folder.glob("*.csv"))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.is_file():
                archive.write(file, file.name)


def _write_statistics(subject: Subject, path: Path) -> bool:
    vec_normalize = unwrap_vec_normalize(subject.env)
    if vec_normalize is None:
        return False
    vec_normalize.save(str(path))
    return True


def _write_policy(model: QFlex, path: Path, env_id: str, subject: Subject) -> bool:
    try:
        model.policy.export_policy(path, vec_normalize=unwrap_vec_normalize(subject.env), task=env_id)
    except ValueError as error:
        print(f"Without {POLICY_FILE}: {error}")
        return False
    return True


def _without_files(run: RunFiles) -> RunFiles:
    """The run for a page that lies elsewhere: no links to files beside the run, and no path of this machine."""
    return dataclasses.replace(run, folder=Path(run.folder.name), models=(), videos=())
