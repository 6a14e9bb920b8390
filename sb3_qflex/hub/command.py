"""``push_to_hub`` and ``load_from_hub`` with RL Zoo's arguments, for QFlex models."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_sb3 import EnvironmentName, ModelName

from sb3_qflex.hub.contents import evaluate, fill
from sb3_qflex.watch.camera import use_egl_without_a_screen, without_shadows
from sb3_qflex.watch.record import Shots, record
from sb3_qflex.watch.subject import Subject, open_subject
from sb3_qflex.zoo.registration import register


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"python -m sb3_qflex {name}", description=description)
    add = parser.add_argument
    add("--env", type=EnvironmentName, required=True, metavar="ID", help="environment")
    add("--algo", choices=["qflex"], default="qflex")
    add("-f", "--folder", required=True, help="log folder, such as logs")
    add("-orga", "--organization", required=True, help="user or organization on the Hub")
    add("-name", "--repo-name", help="of the repository (default: qflex-<environment>)")
    add("--exp-id", type=int, default=0, help="number of the run folder (default: 0, the newest, or a new one)")
    return parser


def push(argv: Sequence[str]) -> None:
    """
    Evaluate a run's model, gather what is shared in a folder, and upload it.

    :param argv: arguments after "push_to_hub"
    """
    parser = _parser("push_to_hub", "Share a run on the Hugging Face Hub; `hf auth login` first.")
    add = parser.add_argument
    add("-m", "--commit-message", default="Initial commit")
    add("--load-best", action="store_true", help="the best model instead of the last one")
    add("--eval-episodes", type=int, default=10, help="for the model card (default: %(default)s)")
    add("--stochastic", action="store_true", help="sample the source action instead of taking tanh(mean)")
    add("--seed", type=int, default=0)
    add("-n", "--n-timesteps", type=int, default=300, help="steps of the video at most (default: %(default)s)")
    add("--no-render", action="store_true", help="no video")
    add("--private", action="store_true", help="make the repository a private one, if it is new")
    add("--local-folder", type=Path, default=Path("hub"), help="where the files are gathered (default: hub)")
    add("--dry-run", action="store_true", help="gather the files, upload nothing")
    args = parser.parse_args(argv)
    use_egl_without_a_screen()
    repo_id = f"{args.organization}/{args.repo_name or ModelName(args.algo, args.env)}"
    target = args.local_folder / repo_id.split("/")[1]
    if target.exists() and any(target.iterdir()):
        parser.error(f"{target} holds files already, which would be uploaded too: remove it or give --local-folder")
    try:
        _gather(args, repo_id, target)
    except (ValueError, AssertionError) as error:
        sys.exit(str(error))
    print(f"Gathered in {target}:", *sorted(path.name for path in target.iterdir()))
    if not args.dry_run:
        print(f"Uploaded: {_upload(repo_id, target, args.commit_message, args.private)}")


def _gather(args: argparse.Namespace, repo_id: str, target: Path) -> None:
    register()
    from rl_zoo3.utils import get_model_path

    _, model, run_folder = get_model_path(args.exp_id, args.folder, args.algo, args.env, args.load_best)
    subject = open_subject(Path(model))
    without_shadows(subject.body)
    evaluation = evaluate(subject, args.eval_episodes, args.seed, not args.stochastic)
    target.mkdir(parents=True, exist_ok=True)
    fill(target, Path(run_folder), Path(model), subject, evaluation, repo_id)
    if not args.no_render:
        _add_video(subject, target / "replay.mp4", args)
    subject.env.close()


def _add_video(subject: Subject, path: Path, args: argparse.Namespace) -> None:
    shots = Shots(seed=args.seed, deterministic=not args.stochastic, max_steps=args.n_timesteps)
    try:
        record(subject, shots, path)
    except Exception as error:  # whatever a machine without a screen raises: a run can be shared without a video
        path.unlink(missing_ok=True)
        print(f"Without a video: {error!r}")


def _upload(repo_id: str, folder: Path, message: str, private: bool) -> str:
    api = HfApi()
    try:
        url = api.create_repo(repo_id=repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except HfHubHTTPError as error:
        sys.exit(f"{error}\nNothing is lost: the files are in {folder}. `hf auth login` gives this machine access.")
    return str(url)


def load(argv: Sequence[str]) -> None:
    """
    Download a shared run into a new run folder, by RL Zoo's own function.

    :param argv: arguments after "load_from_hub"
    """
    parser = _parser("load_from_hub", "Download a run that was shared on the Hugging Face Hub.")
    parser.add_argument("--force", action="store_true", help="replace the run folder of that --exp-id")
    parser.add_argument("--trust", action="store_true", help="you trust the author: models are pickles, which run code")
    args = parser.parse_args(argv)
    if args.trust:
        os.environ["TRUST_REMOTE_CODE"] = "True"
    register()
    from requests.exceptions import HTTPError
    from rl_zoo3 import load_from_hub as zoo

    # RL Zoo goes on without statistics of VecNormalize if the Hub's answer is an error of `requests`, which
    # huggingface_hub no longer uses.
    vars(zoo)["HTTPError"] = (HTTPError, EntryNotFoundError)
    try:
        zoo.download_from_hub(
            args.algo, args.env, args.exp_id, args.folder, args.organization, args.repo_name, args.force
        )
    except (ValueError, EntryNotFoundError, HfHubHTTPError) as error:
        hint = "" if args.trust else " (--trust says that you trust the author)"
        sys.exit(f"{error}{hint}")
