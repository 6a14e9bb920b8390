"""``python -m sb3_qflex watch MODEL``: record episodes of a trained model as an mp4, a GIF, or both."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from sb3_qflex.watch.camera import View, use_egl_without_a_screen, without_shadows
from sb3_qflex.watch.record import Shots, record
from sb3_qflex.watch.subject import Subject, open_subject


def parser() -> argparse.ArgumentParser:
    """The command line of ``watch``."""
    parser = argparse.ArgumentParser("python -m sb3_qflex watch", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, help="run folder of RL Zoo, such as logs/qflex/Pendulum-v1_1, or a model's zip file")
    add("--env", metavar="ID", help="environment; a zip file that is in no run folder needs it")
    add("--env-kwargs", nargs="*", default=["{}"], metavar="'NAME: VALUE'", help="arguments of the environment")
    add("--episodes", type=int, nargs="+", default=[0], metavar="N", help="which ones; N starts with seed S + N")
    add("--seed", type=int, default=0, metavar="S")
    add("--out", type=Path, metavar="FILE.mp4", help="default: watch_1.mp4, watch_2.mp4, ... beside the model")
    add("--gif", type=Path, metavar="FILE.gif", help="small GIF; without --out, instead of the mp4")
    add("--gif-width", type=_count, default=320, metavar="PIXELS")
    add("--stochastic", action="store_true", help="sample the source action instead of taking tanh(mean)")
    add("--flow-steps", type=_count, metavar="K", help="Euler steps of the flow; default: the model's")
    add("--max-steps", type=_count, metavar="N", help="steps of an episode at most")
    add("--every", type=_count, metavar="N", help="draw each Nth step; default: about 30 frames a simulated second")
    add("--width", type=_even, default=View.width, help="of the picture in pixels (default: %(default)s)")
    add("--height", type=_even, default=View.height, help="without the strip below (default: %(default)s)")
    add("--camera", metavar="NAME", help="camera of the MuJoCo model; default: one that follows the body")
    add("--azimuth", type=float, default=View.azimuth, help="direction of that one, degrees (default: %(default)s)")
    add("--elevation", type=float, default=View.elevation, help="its tilt, degrees (default: %(default)s)")
    add("--shadows", action="store_true", help="as the model asks for them; slow on a CPU")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def _even(text: str) -> int:
    if _count(text) % 2:
        raise argparse.ArgumentTypeError(f"videos need an even number of pixels, got {text}")
    return int(text)


def main(argv: Sequence[str]) -> None:
    """
    Record what the command line asks for and print the files and a line for each episode.

    :param argv: arguments after "watch"
    """
    command = parser()
    args = command.parse_args(argv)
    use_egl_without_a_screen()
    for path, suffix in ((args.out, ".mp4"), (args.gif, ".gif")):
        if path is not None and (path.suffix != suffix or path.exists()):
            command.error(f"{path} must end in {suffix} and must not exist yet")
    try:
        subject = open_subject(args.model, args.env, yaml.safe_load("\n".join(args.env_kwargs)), args.flow_steps)
        if not args.shadows:
            without_shadows(subject.body)
        _write(subject, _shots(args), args)
    except (FileNotFoundError, ValueError, ImportError) as error:
        sys.exit(str(error))


def _shots(args: argparse.Namespace) -> Shots:
    view = View(args.width, args.height, args.camera, args.azimuth, args.elevation)
    return Shots(args.episodes, args.seed, not args.stochastic, args.max_steps, args.every, view)


def _write(subject: Subject, shots: Shots, args: argparse.Namespace) -> None:
    out = _free_path(args.model) if args.out is None and args.gif is None else args.out
    record(subject, shots, out, args.gif, args.gif_width)
    if out is not None:
        print(f"Video: {out}")
    if args.gif is not None:
        print(f"GIF: {args.gif} ({args.gif.stat().st_size / 1000:.0f} kB)")
    subject.env.close()


def _free_path(model: Path) -> Path:
    from sb3_qflex.zoo.compare import free_stem

    return free_stem(model if model.is_dir() else model.parent, "watch").with_suffix(".mp4")
