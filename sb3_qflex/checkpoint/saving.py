"""One checkpoint: which files hold what, written in the order that :mod:`.layout` explains."""

import logging
import pickle
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_qflex.checkpoint.environments import get_states
from sb3_qflex.checkpoint.layout import CheckpointFolder
from sb3_qflex.checkpoint.manifest import MANIFEST, File, Manifest, Segment
from sb3_qflex.checkpoint.randomness import get_random_states
from sb3_qflex.checkpoint.rows import pieces, write_index, write_rows
from sb3_qflex.common.callbacks import evaluations_in
from sb3_qflex.common.off_policy import OffPolicyBase
from sb3_qflex.common.persistence import sync
from sb3_qflex.common.version import VERSION
from sb3_qflex.vec_env.errors import NotSavableError

MODEL, STATE, NORMALIZATION, ENVIRONMENTS, REPLAY = (
    "model.zip",
    "state.pt",
    "vecnormalize.pkl",
    "environments.pkl",
    "replay.npz",
)

logger = logging.getLogger(__name__)


@dataclass
class Lineage:
    """
    Where a model stands in the history of a checkpoint folder.

    :param run: Identity of the training.
    :param num_timesteps: Environment steps at the last checkpoint.
    :param buffer: Replay buffer whose rows are saved, None if none is.
    :param rows: Rows that it has stored since the training began.
    :param segments: Where they are.
    """

    run: str
    num_timesteps: int
    buffer: ReplayBuffer | None = None
    rows: int = 0
    segments: list[Segment] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """Whether a checkpoint holds, besides model and random states, replay data, and the environments' states."""

    replay: bool
    environments: bool


def save(model: OffPolicyBase, folder: CheckpointFolder, content: Content, callback: BaseCallback) -> Manifest:
    """
    Write one checkpoint of a model between two rollouts.

    :param model: Whose ``checkpoint_lineage`` belongs to the folder; it is advanced.
    :param folder: The locked folder.
    :param content: What to save.
    :param callback: Of the training, whose evaluations are saved too.
    :raises OSError: If the disk refuses; what was there before is whole.
    """
    lineage, env = model.checkpoint_lineage, model.get_env()
    assert lineage is not None and env is not None
    number = max(folder.numbers(), default=0) + 1
    rows, segments = lineage.rows, list[Segment]()
    try:
        if content.replay:
            rows, segments = _append_rows(model, folder, lineage, number)
        with folder.new_generation(number) as path:
            _write_files(model, path, content, env, evaluations_in(callback))
            manifest = Manifest(
                run=lineage.run,
                generation=number,
                num_timesteps=model.num_timesteps,
                n_envs=env.num_envs,
                replay=content.replay,
                environments=(path / ENVIRONMENTS).exists(),
                files={file.name: File.of(file) for file in sorted(path.iterdir())},
                segments=segments,
                versions=_versions(),
            )
            (path / MANIFEST).write_text(manifest.text())
    except BaseException:
        for segment in folder.segments.glob(f"{_prefix(number)}*"):
            segment.unlink(missing_ok=True)
        raise
    buffer = model.replay_buffer if content.replay else None
    model.checkpoint_lineage = Lineage(lineage.run, model.num_timesteps, buffer, rows, segments)
    folder.clean()
    return manifest


def _write_files(
    model: OffPolicyBase, path: Path, content: Content, env: VecEnv, evaluations: list[dict[str, Any]]
) -> None:
    model.save(path / MODEL)
    random = get_random_states(model.action_space)
    th.save({"random": random, "model": model.training_state(), "evaluations": evaluations}, path / STATE)
    vec_normalize = unwrap_vec_normalize(env)
    if vec_normalize is not None:
        vec_normalize.save(str(path / NORMALIZATION))
    if content.environments:
        try:
            (path / ENVIRONMENTS).write_bytes(pickle.dumps(get_states(env)))
        except NotSavableError as error:
            logger.warning("The checkpoint leaves out the states of the environments: %s", error)
    if content.replay:
        write_index(path / REPLAY, model.replay_buffer)


def _append_rows(
    model: OffPolicyBase, folder: CheckpointFolder, lineage: Lineage, number: int
) -> tuple[int, list[Segment]]:
    """Write the rows that are not in a segment yet; returns how many there were ever, and all needed segments."""
    buffer = model.replay_buffer
    new = (model.num_timesteps - lineage.num_timesteps) // buffer.n_envs
    if (lineage.rows + new - buffer.pos) % buffer.buffer_size == 1:
        new -= 1  # another callback ended training after a step that was then not stored
    rows, segments = lineage.rows + new, list(lineage.segments)
    if buffer is not lineage.buffer or rows % buffer.buffer_size != buffer.pos or new > buffer.size():
        # Another buffer than at the last checkpoint: all of it is new.
        rows, new, segments = buffer.pos + buffer.buffer_size * buffer.full, buffer.size(), []
    for index, (first, stop) in enumerate(pieces(buffer, rows - min(new, buffer.size()), rows)):
        path = folder.segments / f"{_prefix(number)}{index:04d}.npz"
        write_rows(path, buffer, first, stop)
        sync(path)
        segments.append(Segment(path.name, first, stop, File.of(path)))
    sync(folder.segments)
    return rows, [segment for segment in segments if segment.stop > rows - buffer.size()]


def _prefix(number: int) -> str:
    return f"rows-{number:08d}-"


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("stable-baselines3", "torch", "numpy", "gymnasium")}
    return {"sb3-qflex": VERSION, **packages}
