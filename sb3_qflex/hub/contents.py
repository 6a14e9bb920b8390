"""The files of a shared run, in the layout that RL Zoo's own ``load_from_hub`` reads, and a few more of ours."""

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_sb3 import EnvironmentName, ModelName
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from sb3_qflex.analysis.trained import run_arguments
from sb3_qflex.common.version import VERSION
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.run_report.files import read_run
from sb3_qflex.run_report.page import write_page
from sb3_qflex.watch.subject import ModelSubject

POLICY_FILE = "policy.safetensors"


@dataclass(frozen=True)
class Evaluation:
    """
    Evaluation of a shared model.

    :param mean_reward: mean return over the episodes
    :param std_reward: its standard deviation over the episodes
    :param n_eval_episodes: number of episodes
    :param is_deterministic: whether the flow started at tanh(mean)
    :param seed: seed of the environment
    """

    mean_reward: float
    std_reward: float
    n_eval_episodes: int
    is_deterministic: bool
    seed: int


def evaluate(subject: ModelSubject, episodes: int, seed: int, deterministic: bool = True) -> Evaluation:
    """What comes out in the environment with this seed; ``deterministic`` flows start at tanh(mean), not a sample."""
    subject.env.unwrapped.seed(seed)
    mean, std = evaluate_policy(subject.model, subject.env, episodes, deterministic)
    return Evaluation(float(mean), float(std), episodes, deterministic, seed)  # type: ignore[arg-type]


def fill(
    folder: Path, run_folder: Path, model: Path, subject: ModelSubject, evaluation: Evaluation, repo_id: str
) -> None:
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
    arguments = run_arguments(run_folder) or {}
    env_kwargs = {**(run.hyperparams.get("env_kwargs") or {}), **(arguments.get("env_kwargs") or {})}
    (folder / "env_kwargs.yml").write_text(yaml.dump(env_kwargs))
    (folder / "results.json").write_text(json.dumps(asdict(evaluation), indent=1) + "\n")
    _write_metrics(run_folder, folder / "train_eval_metrics.zip")
    vec_normalize = unwrap_vec_normalize(subject.env)
    if vec_normalize is not None:
        vec_normalize.save(str(folder / "vec_normalize.pkl"))
    # The page lies elsewhere: no links to files beside the run, and no path of this machine.
    alone = replace(run, folder=Path(run_folder.name), models=(), videos=())
    (folder / "report.html").write_text(write_page(alone, None, folder / "report.html"))
    algo_class = type(subject.model).__name__
    card = ModelCard.from_template(
        _metadata(run.env_id, algo_class, evaluation),
        template_path=str(Path(__file__).with_name("card.md")),
        run=run,
        repo_id=repo_id,
        algo_class=algo_class,
        evaluation=evaluation,
        steps=subject.model.num_timesteps,
        env_kwargs=env_kwargs,
        versions={**run.versions, "sb3-qflex (at upload)": VERSION},
        policy_file=_write_policy(subject, folder, run.env_id),
        is_normalized=vec_normalize is not None,
    )
    card.save(folder / "README.md")


def _write_metrics(run_folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (run_folder / "evaluations.npz", *sorted(run_folder.glob("*.csv"))):
            if file.is_file():
                archive.write(file, file.name)


def _write_policy(subject: ModelSubject, folder: Path, env_id: str) -> str | None:
    """The file's name; None where the model has none, which is said."""
    vec_normalize = unwrap_vec_normalize(subject.env)
    policy = subject.model.policy
    assert isinstance(policy, QFlexPolicy)
    try:
        policy.export_policy(folder / POLICY_FILE, vec_normalize=vec_normalize, task=env_id)
    except ValueError as error:
        print(f"Without {POLICY_FILE}: {error}")
        return None
    return POLICY_FILE


def _metadata(env_id: str, algo_class: str, evaluation: Evaluation) -> ModelCardData:
    """The card's head, from which the Hub (and RL Zoo's ``get_hf_trained_models``) knows task and result."""
    result = EvalResult(
        task_type="reinforcement-learning",
        task_name="reinforcement-learning",
        dataset_type=env_id,
        dataset_name=env_id,
        metric_type="mean_reward",
        metric_name="mean_reward",
        metric_value=f"{evaluation.mean_reward:.2f} +/- {evaluation.std_reward:.2f}",
    )
    tags = [env_id, "deep-reinforcement-learning", "reinforcement-learning", "stable-baselines3", "sb3-qflex"]
    return ModelCardData(library_name="stable-baselines3", tags=tags, model_name=algo_class, eval_results=[result])
