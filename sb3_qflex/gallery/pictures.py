"""A GIF of a policy that does its task."""

from pathlib import Path

from sb3_qflex.pretrained.index import Entry, PretrainedError
from sb3_qflex.watch.camera import without_shadows
from sb3_qflex.watch.record import Shots, record
from sb3_qflex.watch.subject import Subject, open_pretrained
from sb3_qflex.watch.view import View

MOST_BYTES = 1_000_000
#: Episodes that are tried until one succeeds.
TRIES = 20
#: Pictures for each second of the film, and the seconds to which a shorter episode is slowed down.
_RATE, _SECONDS = 12.5, 4.0


def write_gif(entry: Entry, folder: Path | None, path: Path) -> None:
    """
    Record the first episode of the evaluation in which the task is done, at its last step where the policy can.

    :param entry: of a policy that succeeds
    :param folder: of policies
    :param path: file to write, of at most :data:`MOST_BYTES`; an older one is replaced
    :raises PretrainedError: if none of the first episodes succeeds: nothing is shown that does not do its task
    """
    subject = open_pretrained(entry.id, folder)
    try:
        without_shadows(subject.body)
        for number in range(min(TRIES, entry.played.episodes)):
            if _does_its_task(entry, subject, number, path):
                return
    finally:
        subject.env.close()
    path.unlink(missing_ok=True)
    raise PretrainedError(f"{entry.id} does its task in none of {TRIES} episodes: it gets no picture.")


def _does_its_task(entry: Entry, subject: Subject, number: int, path: Path) -> bool:
    slowdown = max(1.0, _SECONDS / (subject.dt * entry.played.mean_length))
    shots = Shots(
        (number,),
        seed=entry.played.seed,
        every=max(1, round(1.0 / (_RATE * slowdown * subject.dt))),
        view=View(camera=entry.camera or None),
        slowdown=slowdown,
        most_bytes=MOST_BYTES,
    )
    (episode,) = record(subject, shots, None, path)
    holds = entry.played.at_end is not None and entry.played.at_end[0] > 0
    return episode.solved is None or (episode.solved if holds else episode.reached)
