"""``sb3-qflex push-to-hub`` and ``load-from-hub`` with RL Zoo's arguments, for QFlex models."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.cli.arguments import positive, told


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=description)
    add = parser.add_argument
    add("--env", required=True, metavar="ID", help="environment")
    add("--algo", choices=["qflex"], default="qflex")
    add("-f", "--folder", required=True, help="log folder, such as logs")
    add("-orga", "--organization", required=True, help="user or organization on the Hub")
    add("-name", "--repo-name", help="of the repository (default: qflex-<environment>)")
    add("--exp-id", type=int, default=0, help="number of the run folder (default: 0, the newest, or a new one)")
    return parser


def push(prog: str, argv: Sequence[str]) -> None:
    """Evaluate a run's model, gather what is shared in a folder, and upload it."""
    parser = _parser(prog, "Share a run on the Hugging Face Hub; `hf auth login` first.")
    add = parser.add_argument
    add("-m", "--commit-message", default="Initial commit")
    add("--load-best", action="store_true", help="the best model instead of the last one")
    add("--eval-episodes", type=positive, default=10, help="for the model card (default: %(default)s)")
    add("--stochastic", action="store_true", help="sample the source action instead of taking tanh(mean)")
    add("--seed", type=int, default=0)
    add("-n", "--n-timesteps", type=positive, default=300, help="steps of the video at most (default: %(default)s)")
    add("--no-render", action="store_true", help="no video")
    add("--private", action="store_true", help="make the repository a private one, if it is new")
    add("--local-folder", type=Path, default=Path("hub"), help="where the files are gathered (default: hub)")
    add("--dry-run", action="store_true", help="gather the files, upload nothing")
    args = parser.parse_args(argv)
    from sb3_qflex.watch.camera import use_egl_without_a_screen

    use_egl_without_a_screen()
    from sb3_qflex.hub.sharing import HubError, gather, repository, upload

    target = args.local_folder / repository(args).split("/")[1]
    if target.exists() and any(target.iterdir()):
        parser.error(f"{target} holds files already, which would be uploaded too: remove it or give --local-folder")
    with told(HubError, ValueError):
        gather(args, target)
        print(f"Gathered in {target}:", *sorted(path.name for path in target.iterdir()))
        if not args.dry_run:
            print(f"Uploaded: {upload(args, target)}")


def load(prog: str, argv: Sequence[str]) -> None:
    """Download a shared run into a new run folder, by RL Zoo's own function."""
    parser = _parser(prog, "Download a run that was shared on the Hugging Face Hub.")
    parser.add_argument("--force", action="store_true", help="replace the run folder of that --exp-id")
    parser.add_argument("--trust", action="store_true", help="you trust the author: models are pickles, which run code")
    args = parser.parse_args(argv)
    if args.trust:
        os.environ["TRUST_REMOTE_CODE"] = "True"
    from sb3_qflex.hub.sharing import HubError, download

    with told(HubError):
        download(args)
