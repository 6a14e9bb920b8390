"""``python -m sb3_qflex watch MODEL``: record episodes of a trained model as an mp4, a GIF, or both."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from sb3_qflex.watch.camera import Picture, View, photographer, without_shadows
from sb3_qflex.watch.episode import Episode, Moment
from sb3_qflex.watch.film import GifFrames, write_mp4
from sb3_qflex.watch.overlay import compose, muscles
from sb3_qflex.watch.subject import Subject, open_subject

#: Frames for each second of simulated time, unless --every says otherwise.
FRAMES_PER_SECOND = 30.0


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
    _use_egl_without_a_screen()
    for path, suffix in ((args.out, ".mp4"), (args.gif, ".gif")):
        if path is not None and (path.suffix != suffix or path.exists()):
            command.error(f"{path} must end in {suffix} and must not exist yet")
    try:
        subject = open_subject(args.model, args.env, yaml.safe_load("\n".join(args.env_kwargs)), args.flow_steps)
        if not args.shadows:
            without_shadows(subject.body)
        _record(subject, args)
    except (FileNotFoundError, ValueError, ImportError) as error:
        sys.exit(str(error))


def _use_egl_without_a_screen() -> None:
    # Read by MuJoCo while it is imported; GLFW, its default, fails without a display.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")


def _record(subject: Subject, args: argparse.Namespace) -> None:
    every = args.every or max(1, round(1.0 / (FRAMES_PER_SECOND * subject.dt)))
    fps = 1.0 / (subject.dt * every)
    gif = GifFrames(fps, args.gif_width) if args.gif is not None else None
    out = args.out
    if out is None and gif is None:
        out = _free_path(args.model)
    frames = _frames(subject, args, every, gif)
    if out is not None:
        write_mp4(out, frames, fps)
        print(f"Video: {out}")
    else:
        for _ in frames:
            pass
    if gif is not None:
        gif.save(args.gif)
        print(f"GIF: {args.gif} ({args.gif.stat().st_size / 1000:.0f} kB)")
    subject.env.close()


def _free_path(model: Path) -> Path:
    from sb3_qflex.zoo.compare import free_stem

    return free_stem(model if model.is_dir() else model.parent, "watch").with_suffix(".mp4")


def _frames(subject: Subject, args: argparse.Namespace, every: int, gif: GifFrames | None) -> Iterator[Picture]:
    view = View(args.width, args.height, args.camera, args.azimuth, args.elevation)
    draw = finish = None
    for number in args.episodes:
        episode = Episode(subject, number, args.seed, not args.stochastic, args.max_steps)
        moments: list[Moment] = []
        for moment in episode:
            if draw is None or finish is None:
                # Not before the first reset: the camera's distance is taken from the start state.
                draw, finish = photographer(subject.body, view)
            moments.append(moment)
            if moment.step % every == 0:
                frame = compose(draw(), moment, subject.model.exploration, muscles(subject.body))
                if gif is not None:
                    gif.add(frame)
                yield frame
        print(summary(episode, moments), flush=True)
    if finish is not None:
        finish()


def summary(episode: Episode, moments: Sequence[Moment]) -> str:
    """
    One line about an episode that was played.

    :param episode: the episode
    :param moments: its moments, at least one
    :return: steps, return, and the mean Q of both actions
    """
    source = np.array([moment.q_source for moment in moments])
    executed = np.array([moment.q_executed for moment in moments])
    return (
        f"Episode {episode.number}: {episode.steps} steps, return {episode.total:.4g}; mean Q of the source action "
        f"{source.mean():.4g}, of the executed one {executed.mean():.4g}, the larger one in "
        f"{np.mean(executed > source):.0%} of the steps"
    )
