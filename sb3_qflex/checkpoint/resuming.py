"""From a checkpoint folder back to a model that goes on."""

import logging
import os
import pickle
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.checkpoint.environments import restore_statistics, set_states
from sb3_qflex.checkpoint.errors import CheckpointError
from sb3_qflex.checkpoint.layout import CheckpointFolder
from sb3_qflex.checkpoint.manifest import Manifest
from sb3_qflex.checkpoint.randomness import set_random_states
from sb3_qflex.checkpoint.rows import read_index, read_rows
from sb3_qflex.checkpoint.saving import ENVIRONMENTS, MODEL, NORMALIZATION, REPLAY, STATE, Lineage
from sb3_qflex.checkpoint.streams import relay
from sb3_qflex.common.callbacks import put_back_evaluations
from sb3_qflex.common.off_policy import OffPolicyBase
from sb3_qflex.common.replay import cut_streams
from sb3_qflex.vec_env.errors import NotSavableError

AnyAlgorithm = TypeVar("AnyAlgorithm", bound=OffPolicyBase)

logger = logging.getLogger(__name__)


def resume(
    algorithm: type[AnyAlgorithm],
    path: str | os.PathLike[str],
    env: GymEnv,
    device: th.device | str = "auto",
    custom_objects: dict[str, Any] | None = None,
) -> AnyAlgorithm:
    """See :meth:`sb3_qflex.algorithm.Algorithm.resume`."""
    folder = CheckpointFolder(path)
    folder.run()
    try:
        with folder.lock(write=False):
            manifest = _latest(folder)
            # With force_reset the last observations would be lost.
            model = algorithm.load(
                folder.generation(manifest.generation) / MODEL, env, device, custom_objects, force_reset=False
            )
            _restore(model, folder, manifest)
    except (OSError, pickle.PickleError, EOFError) as error:
        raise CheckpointError(f"{folder.path} cannot be read: {error}") from error
    return model


def _latest(folder: CheckpointFolder) -> Manifest:
    """The last generation that is whole."""
    problems = []
    for number in reversed(folder.numbers()):
        try:
            manifest = folder.verified(number)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if problems:
            logger.warning(
                "%s: the last checkpoint is damaged (%s). Going on from the one before, of step %d.",
                folder.path,
                "; ".join(problems),
                manifest.num_timesteps,
            )
        return manifest
    raise CheckpointError(
        f"{folder.path} has no checkpoint that loads. " + ("; ".join(problems) or "None was completed yet.")
    )


def _restore(model: OffPolicyBase, folder: CheckpointFolder, manifest: Manifest) -> None:
    env = model.get_env()
    assert env is not None
    path = folder.generation(manifest.generation)
    statistics = path / NORMALIZATION
    problem = restore_statistics(env, statistics.read_bytes() if NORMALIZATION in manifest.files else None)
    if problem is not None:
        raise CheckpointError(problem)
    goes_on = env.num_envs == manifest.n_envs and _restore_environments(env, folder, manifest)
    model.checkpoint_lineage = Lineage(manifest.run, manifest.num_timesteps)
    if manifest.replay:
        buffer = _read_buffer(model, folder, manifest)
        _take_buffer(model, buffer, manifest, goes_on)
    if not goes_on:
        _start_episodes_anew(model, env)
    state = th.load(path / STATE, map_location=model.device, weights_only=False)

    def at_learning_start(callback: BaseCallback) -> None:
        """What setting up ``learn``, or its callbacks, would have disturbed; the random states last."""
        model.restore_training_state(state["model"])
        put_back_evaluations(callback, state.get("evaluations", []))
        set_random_states(model.action_space, state["random"])

    model.at_learning_start = at_learning_start


def _restore_environments(env: VecEnv, folder: CheckpointFolder, manifest: Manifest) -> bool:
    if not manifest.environments:
        logger.warning("The checkpoint has no states of the environments: they start new episodes.")
        return False
    try:
        saved = (folder.generation(manifest.generation) / ENVIRONMENTS).read_bytes()
        set_states(env, pickle.loads(saved))
    except (NotSavableError, ImportError, AttributeError) as error:
        logger.warning("The environments do not go on where they were, and start new episodes: %s", error)
        return False
    return True


def _read_buffer(model: OffPolicyBase, folder: CheckpointFolder, manifest: Manifest) -> ReplayBuffer:
    buffer = model.make_replay_buffer(manifest.n_envs)
    stop = manifest.segments[-1].stop if manifest.segments else 0
    for segment in manifest.segments:
        read_rows(folder.segments / segment.name, buffer, segment.first, stop - buffer.buffer_size)
    read_index(folder.generation(manifest.generation) / REPLAY, buffer)
    return buffer


def _take_buffer(model: OffPolicyBase, buffer: ReplayBuffer, manifest: Manifest, goes_on: bool) -> None:
    if buffer.n_envs == model.n_envs:
        if not goes_on:
            cut_streams(buffer)
        model.replay_buffer = buffer
        rows = manifest.segments[-1].stop if manifest.segments else 0
        model.checkpoint_lineage = Lineage(manifest.run, manifest.num_timesteps, buffer, rows, list(manifest.segments))
        return
    model.replay_buffer = model.make_replay_buffer()
    dropped = relay(buffer, model.replay_buffer)
    logger.warning(
        "The checkpoint is of %d environments and goes on with %d: %d transitions were laid anew by their original "
        "streams, each cut at its end, and %d were left out.",
        manifest.n_envs,
        model.n_envs,
        buffer.size() * buffer.n_envs - dropped,
        dropped,
    )


def _start_episodes_anew(model: OffPolicyBase, env: VecEnv) -> None:
    model._last_obs = None
    if model.seed is not None:
        # Not with the episodes that the training began with.
        env.seed((model.seed + model.num_timesteps) % 2**32)
