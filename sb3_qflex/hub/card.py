"""The model card: what a stranger needs to know about a shared run, and the metadata that the Hub lists it by."""

from collections.abc import Mapping
from dataclasses import dataclass
from pprint import pformat
from typing import Any

from huggingface_hub import EvalResult, ModelCardData


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


@dataclass(frozen=True)
class Shared:
    """
    What is shared.

    :param repo_id: "<organization>/<name>"
    :param algo: RL Zoo's name of the algorithm
    :param algo_class: name of its class
    :param env_id: Gymnasium id
    :param steps: environment steps of training
    :param hyperparams: as in the run's ``config.yml``
    :param env_kwargs: arguments of the environment
    :param versions: what it was trained with
    :param has_policy_file: whether ``policy.safetensors`` is there
    :param is_normalized: whether statistics of ``VecNormalize`` are there
    """

    repo_id: str
    algo: str
    algo_class: str
    env_id: str
    steps: int
    hyperparams: Mapping[str, Any]
    env_kwargs: Mapping[str, Any]
    versions: Mapping[str, str]
    has_policy_file: bool
    is_normalized: bool


def metadata(shared: Shared, evaluation: Evaluation) -> ModelCardData:
    """
    :param shared: what is shared
    :param evaluation: how good it is
    :return: the card's head, from which the Hub (and RL Zoo's ``get_hf_trained_models``) knows task and result
    """
    return ModelCardData(
        library_name="stable-baselines3",
        tags=[shared.env_id, "deep-reinforcement-learning", "reinforcement-learning", "stable-baselines3", "sb3-qflex"],
        model_name=shared.algo_class,
        eval_results=[
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=shared.env_id,
                dataset_name=shared.env_id,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=f"{evaluation.mean_reward:.2f} +/- {evaluation.std_reward:.2f}",
            )
        ],
    )


def model_card(shared: Shared, evaluation: Evaluation) -> str:
    """
    :param shared: what is shared
    :param evaluation: how good it is
    :return: the README.md of the repository, with its metadata
    """
    kind = "deterministic" if evaluation.is_deterministic else "stochastic"
    parts = [
        f"---\n{metadata(shared, evaluation).to_yaml()}\n---",
        f"# **{shared.algo_class}** agent on **{shared.env_id}**",
        f"Trained for {shared.steps:,} environment steps with QFlex (Q-guided Flow Exploration, "
        "[arXiv 2601.19707](https://arxiv.org/abs/2601.19707)) in the package sb3-qflex for "
        "[Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) and the "
        "[RL Zoo](https://github.com/DLR-RM/rl-baselines3-zoo).",
        "## Result",
        f"Mean return {evaluation.mean_reward:.2f} ± {evaluation.std_reward:.2f} (standard deviation over episodes) in "
        f"{evaluation.n_eval_episodes} {kind} episodes of the environment with seed {evaluation.seed}. `results.json` "
        "has these numbers, `report.html` the learning curves, `train_eval_metrics.zip` the raw returns.",
        *_usage(shared),
        f"## Hyperparameters\n\n```python\n{pformat(dict(shared.hyperparams))}\n```",
        f"Arguments of the environment: `{dict(shared.env_kwargs)}`",
        "## Versions\n",
        "\n".join(f"- {name}: {version}" for name, version in shared.versions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _usage(shared: Shared) -> list[str]:
    organization, name = shared.repo_id.split("/")
    named = "" if name == f"{shared.algo}-{shared.env_id}" else f" -name {name}"
    what = f"--algo {shared.algo} --env {shared.env_id}"
    parts = [
        "## Usage",
        "With sb3-qflex installed. The model is a pickle: `--trust` says that you trust who made it.",
        f"```sh\nsb3-qflex load-from-hub {what} -orga {organization}{named} -f logs --trust\n"
        f"sb3-qflex enjoy {what} -f logs\n```",
    ]
    if not shared.has_policy_file:
        return parts
    text = "The policy alone, without unpickling anything:"
    code = (
        "from huggingface_hub import hf_hub_download\nfrom sb3_qflex import QFlexPolicy\n\n"
        f'path = hf_hub_download("{shared.repo_id}", "policy.safetensors")\n'
        "policy = QFlexPolicy.load(path)\n"
    )
    if shared.is_normalized:
        code += (
            "# Observations were normalised in training; venv is your vectorised environment.\n"
            "from sb3_qflex.export import load_vec_normalize\n\nvenv = load_vec_normalize(path, venv)\n"
        )
    code += "action, _ = policy.predict(observation, deterministic=True)\n"
    return [*parts, text, f"```python\n{code}```"]
