"""Gathering a run's files, uploading them, and downloading those of a shared run by RL Zoo's own function."""

import argparse
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_sb3 import EnvironmentName, ModelName

from sb3_qflex.hub.contents import evaluate, fill
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.watch.camera import without_shadows
from sb3_qflex.watch.record import Shots, record
from sb3_qflex.watch.subject import ModelSubject, open_subject
from sb3_qflex.zoo.registration import register


class HubError(RuntimeError):
    """The Hub refused, or has no such run."""


def repository(args: argparse.Namespace) -> str:
    """The repository's "<organization>/<name>", of the arguments of either command."""
    return f"{args.organization}/{args.repo_name or ModelName(args.algo, EnvironmentName(args.env))}"


def gather(args: argparse.Namespace, target: Path) -> None:
    """Evaluate a run's model and put what is shared into a folder; a ValueError if there is no such run."""
    register()
    from rl_zoo3.utils import get_model_path

    env = EnvironmentName(args.env)
    try:
        _, model, run_folder = get_model_path(args.exp_id, args.folder, args.algo, env, args.load_best)
    except AssertionError as error:  # as RL Zoo says that there is no folder
        raise ValueError(str(error)) from error
    subject = open_subject(Path(model))
    if not isinstance(subject.model, QFlex):
        raise ValueError(
            f"{model} is a {type(subject.model).__name__} model: only QFlex is shared with its policy file"
        )
    without_shadows(subject.body)
    evaluation = evaluate(subject, args.eval_episodes, args.seed, not args.stochastic)
    target.mkdir(parents=True, exist_ok=True)
    fill(target, Path(run_folder), Path(model), subject, evaluation, repository(args))
    if not args.no_render:
        _add_video(subject, target / "replay.mp4", args)
    subject.env.close()


def _add_video(subject: ModelSubject, path: Path, args: argparse.Namespace) -> None:
    shots = Shots(seed=args.seed, deterministic=not args.stochastic, max_steps=args.n_timesteps)
    try:
        record(subject, shots, path)
    except Exception as error:  # whatever a machine without a screen raises: a run can be shared without a video
        path.unlink(missing_ok=True)
        print(f"Without a video: {error!r}")


def upload(args: argparse.Namespace, folder: Path) -> str:
    """Upload a folder to the repository, whose address is returned; a HubError if the Hub refuses."""
    api = HfApi()
    try:
        url = api.create_repo(repo_id=repository(args), private=args.private, exist_ok=True)
        api.upload_folder(repo_id=repository(args), folder_path=folder, commit_message=args.commit_message)
    except HfHubHTTPError as error:
        raise HubError(
            f"{error}\nNothing is lost: the files are in {folder}. `hf auth login` gives this machine access."
        ) from error
    return str(url)


def download(args: argparse.Namespace) -> None:
    """Download a shared run; a HubError if there is no such run, or its author is not trusted."""
    register()
    from requests.exceptions import HTTPError
    from rl_zoo3 import load_from_hub as zoo

    # RL Zoo goes on without statistics of VecNormalize if the Hub's answer is an error of `requests`, which
    # huggingface_hub no longer uses.
    vars(zoo)["HTTPError"] = (HTTPError, EntryNotFoundError)
    env = EnvironmentName(args.env)
    try:
        zoo.download_from_hub(args.algo, env, args.exp_id, args.folder, args.organization, args.repo_name, args.force)
    except (ValueError, EntryNotFoundError, HfHubHTTPError) as error:
        hint = "" if args.trust else " (--trust says that you trust the author)"
        raise HubError(f"{error}{hint}") from error
