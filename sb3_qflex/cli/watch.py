"""``sb3-qflex watch``: record episodes of a trained model, or policy, as an mp4, a GIF, or both."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from sb3_qflex.cli.arguments import positive, told
from sb3_qflex.cli.pretrained import add_folder
from sb3_qflex.common.outputs import free_stem
from sb3_qflex.watch.view import View

if TYPE_CHECKING:
    from sb3_qflex.watch.subject import Subject


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description="Record episodes of a trained model as an mp4, a GIF, or both.")
    add = parser.add_argument
    add("model", type=Path, nargs="?", help="run folder of RL Zoo, such as logs/qflex/Pendulum-v1_1, or a zip file")
    add("--pretrained", metavar="ID", help="a trained policy, in place of a model")
    add_folder(parser)
    add("--env", metavar="ID", help="environment; a zip file that is in no run folder needs it")
    add("--env-kwargs", nargs="*", default=["{}"], metavar="'NAME: VALUE'", help="arguments of the environment")
    add("--episodes", type=int, nargs="+", default=[0], metavar="N", help="which ones; N starts with seed S + N")
    add("--seed", type=int, default=0, metavar="S")
    add("--out", type=Path, metavar="FILE.mp4", help="default: watch_1.mp4, watch_2.mp4, ... beside the model, or here")
    add("--gif", type=Path, metavar="FILE.gif", help="small GIF; without --out, instead of the mp4")
    add("--gif-width", type=positive, default=320, metavar="PIXELS")
    add("--stochastic", action="store_true", help="sample the source action instead of taking tanh(mean)")
    add("--flow-steps", type=positive, metavar="K", help="Euler steps of the flow; default: the model's")
    add("--max-steps", type=positive, metavar="N", help="steps of an episode at most")
    add("--every", type=positive, metavar="N", help="draw each Nth step; default: about 30 frames a simulated second")
    add("--width", type=_even, default=View.width, help="of the picture in pixels (default: %(default)s)")
    add("--height", type=_even, default=View.height, help="without the strip below (default: %(default)s)")
    add("--camera", metavar="NAME", help="camera of the MuJoCo model; default: one that follows the body")
    add("--azimuth", type=float, default=View.azimuth, help="direction of that one, degrees (default: %(default)s)")
    add("--elevation", type=float, default=View.elevation, help="its tilt, degrees (default: %(default)s)")
    add("--shadows", action="store_true", help="as the model asks for them; slow on a CPU")
    return parser


def _even(text: str) -> int:
    if positive(text) % 2:
        raise argparse.ArgumentTypeError(f"videos need an even number of pixels, got {text}")
    return int(text)


def main(prog: str, argv: Sequence[str]) -> None:
    """Record what the command line asks for and print the files and a line for each episode."""
    parser = _parser(prog)
    args = parser.parse_args(argv)
    if (args.model is None) == (args.pretrained is None):
        parser.error("give either a model or --pretrained ID")
    if args.pretrained is not None and (args.env or args.env_kwargs != ["{}"] or args.flow_steps):
        parser.error("--env, --env-kwargs and --flow-steps are for a model: a trained policy has its own")
    for path, suffix in ((args.out, ".mp4"), (args.gif, ".gif")):
        if path is not None and (path.suffix != suffix or path.exists()):
            parser.error(f"{path} must end in {suffix} and must not exist yet")
        if path is not None and not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")
    from sb3_qflex.watch.camera import use_egl_without_a_screen, without_shadows

    use_egl_without_a_screen()
    from sb3_qflex.watch.record import Shots, record

    view = View(args.width, args.height, args.camera, args.azimuth, args.elevation)
    shots = Shots(args.episodes, args.seed, not args.stochastic, args.max_steps, args.every, view)
    with told(FileNotFoundError, ValueError, ImportError):
        subject = _open(args)
        if not args.shadows:
            without_shadows(subject.body)
        out = _free_path(args.model or Path()) if args.out is None and args.gif is None else args.out
        record(subject, shots, out, args.gif, args.gif_width)
    if out is not None:
        print(f"Video: {out}")
    if args.gif is not None:
        print(f"GIF: {args.gif} ({args.gif.stat().st_size / 1000:.0f} kB)")
    subject.env.close()


def _open(args: argparse.Namespace) -> "Subject":
    from sb3_qflex.watch.subject import open_pretrained, open_subject

    if args.pretrained is not None:
        return open_pretrained(args.pretrained, args.folder)
    return open_subject(args.model, args.env, yaml.safe_load("\n".join(args.env_kwargs)), args.flow_steps)


def _free_path(model: Path) -> Path:
    return free_stem(model if model.is_dir() else model.parent, "watch").with_suffix(".mp4")
