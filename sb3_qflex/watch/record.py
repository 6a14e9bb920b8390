"""From episodes to files."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sb3_qflex.watch.camera import Picture, photographer
from sb3_qflex.watch.episode import Episode, Moment
from sb3_qflex.watch.film import GifFrames, write_mp4
from sb3_qflex.watch.overlay import compose, muscles
from sb3_qflex.watch.subject import Subject
from sb3_qflex.watch.view import View

#: Frames for each second of simulated time, where ``Shots.every`` is left open.
FRAMES_PER_SECOND = 30.0


@dataclass(frozen=True)
class Shots:
    """
    What is recorded.

    :param episodes: numbers of the episodes, see :class:`~sb3_qflex.watch.episode.Episode`
    :param seed: seed of episode 0
    :param deterministic: whether the flow starts at tanh(mean) instead of a sample
    :param max_steps: steps of an episode at most, None for all
    :param every: steps from one frame to the next, None for about ``FRAMES_PER_SECOND``
    :param view: how to look at it
    :param slowdown: times that the film takes longer than the simulation
    :param most_bytes: size that a GIF is made smaller for, None for any
    """

    episodes: Sequence[int] = (0,)
    seed: int = 0
    deterministic: bool = True
    max_steps: int | None = None
    every: int | None = None
    view: View = field(default_factory=View)
    slowdown: float = 1.0
    most_bytes: int | None = None


def record(
    subject: Subject, shots: Shots, mp4: Path | None, gif: Path | None = None, gif_width: int = 320
) -> list[Episode]:
    """
    Play episodes, print a line about each, and write what was seen.

    :param subject: policy and environment
    :param shots: what is recorded
    :param mp4: video to write, None for none
    :param gif: GIF to write, None for none
    :param gif_width: its largest width in pixels
    :return: the episodes that were played
    """
    every = shots.every or max(1, round(1.0 / (FRAMES_PER_SECOND * subject.dt)))
    fps = 1.0 / (subject.dt * every * shots.slowdown)
    small = GifFrames(fps, gif_width) if gif is not None else None
    episodes = [Episode(subject, one, shots.seed, shots.deterministic, shots.max_steps) for one in shots.episodes]
    pictures = _frames(episodes, shots, every, small)
    if mp4 is not None:
        write_mp4(mp4, pictures, fps)
    else:
        deque(pictures, maxlen=0)
    if gif is not None and small is not None:
        small.save(gif, most_bytes=shots.most_bytes)
    return episodes


def _frames(episodes: Sequence[Episode], shots: Shots, every: int, gif: GifFrames | None) -> Iterator[Picture]:
    draw = finish = None
    for episode in episodes:
        subject = episode.subject
        exploration = getattr(subject.policy, "exploration", "source")
        moments: list[Moment] = []
        for moment in episode:
            if draw is None or finish is None:
                # Not before the first reset: the camera's distance is taken from the start state.
                draw, finish = photographer(subject.body, shots.view)
            moments.append(moment)
            if moment.step % every == 0:
                frame = compose(draw(), moment, exploration, muscles(subject.body))
                if gif is not None:
                    gif.add(frame)
                yield frame
        print(summary(episode, moments), flush=True)
    if finish is not None:
        finish()


def summary(episode: Episode, moments: Sequence[Moment]) -> str:
    """One line about an episode that was played: steps, return, and the mean Q of both actions."""
    played = f"Episode {episode.number}: {episode.steps} steps, return {episode.total:.4g}"
    if moments[0].q_source is None:
        return played
    source = np.array([moment.q_source for moment in moments])
    executed = np.array([moment.q_executed for moment in moments])
    return (
        f"{played}; mean Q of the source action {source.mean():.4g}, of the executed one {executed.mean():.4g}, "
        f"the larger one in {np.mean(executed > source):.0%} of the steps"
    )
