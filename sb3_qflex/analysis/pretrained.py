"""Trained policies in their tasks: the plain loop whose figures the index has."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym

from sb3_qflex.analysis.acting import predictor
from sb3_qflex.analysis.evaluation import Evaluation, Share, evaluate
from sb3_qflex.analysis.trained import Task
from sb3_qflex.common.versions import describe_versions
from sb3_qflex.envs.catalogue import CATALOGUE
from sb3_qflex.export.policy_file import ShareablePolicy
from sb3_qflex.pretrained.index import Collection, Entry, Played, PretrainedError
from sb3_qflex.zoo.registration import register

#: Packages that an extra of this one installs.
_EXTRAS = {"myosuite": "myosuite", "mujoco": "envs", "scipy": "envs"}


@dataclass(frozen=True)
class Pretrained:
    """
    A trained policy and its task.

    :param entry: of the index
    :param policy: takes raw observations
    :param task: in which it acts
    """

    entry: Entry
    policy: ShareablePolicy
    task: Task


def load_pretrained(id: str, folder: Path | None = None) -> Pretrained:
    """
    A trained policy with its task.

    :param id: its id
    :param folder: of policies, see :class:`sb3_qflex.pretrained.index.Collection`
    :raises PretrainedError: if there is none, its file is another, or its task cannot be made here, with what to do
    :raises FileNotFoundError: if its file is not there
    """
    entry = Collection(folder).find(id)
    check_task(entry)
    register()
    import rl_zoo3.import_envs  # noqa: F401 registers ids

    return Pretrained(entry, ShareablePolicy.pretrained(id, folder, device="cpu"), task_of(entry))


def task_of(entry: Entry) -> Task:
    """The task of a policy, with the wrappers that belong to it."""
    return Task(entry.environment, dict(entry.env_kwargs), {"env_wrapper": list(entry.wrappers)})


def check_task(entry: Entry) -> None:
    """A PretrainedError if the task of a policy cannot be made here, with what to install."""
    for package in entry.packages:
        if find_spec(package) is None:
            wanted = f"'sb3-qflex[{_EXTRAS[package]}]'" if package in _EXTRAS else package
            raise PretrainedError(
                f"{entry.id} acts in {entry.environment}, which needs the package {package}: pip install {wanted}"
            )
    ours = {one.id: one for one in CATALOGUE}.get(entry.environment)
    reason = "" if ours is None else ours.missing()
    if reason:
        raise PretrainedError(f"{entry.id} acts in {entry.environment}, which cannot be made here: {reason}")


def packages_of(environment: str) -> tuple[str, ...]:
    """Packages that a registered environment needs beside this one and Gymnasium."""
    ours = {one.id: one for one in CATALOGUE}.get(environment)
    if ours is not None:
        return ours.packages
    point = gym.spec(environment).entry_point
    package = (
        (point if isinstance(point, str) else getattr(point, "__module__", "")).partition(".")[0].partition(":")[0]
    )
    return () if package in ("gymnasium", "sb3_qflex", "") else (package,)


def play(pretrained: Pretrained, episodes: int, seed: int) -> Evaluation:
    """
    Evaluate a policy as its users run it: one environment, ``predict`` on one observation at every step.

    :param pretrained: policy and task
    :param episodes: at least 1
    :param seed: of the first
    """
    env = pretrained.task.make(1, seed)
    try:
        return evaluate(predictor(pretrained.policy, deterministic=True), env, episodes, seed)
    finally:
        env.close()


def as_played(evaluation: Evaluation, seed: int) -> Played:
    """An evaluation of today as the index has it."""
    mean, (low, high) = float(evaluation.returns.mean()), evaluation.return_interval()
    return Played(
        episodes=len(evaluation.returns),
        seed=seed,
        mean_return=(mean, low, high),
        mean_length=float(evaluation.lengths.mean()),
        at_end=_with_interval(evaluation.at_end),
        at_any_step=_with_interval(evaluation.at_any_step),
        date=datetime.now(UTC).date().isoformat(),
        versions=describe_versions(),
    )


def _with_interval(share: Share | None) -> tuple[float, float, float] | None:
    return None if share is None else (share.count / share.episodes, *share.interval())
