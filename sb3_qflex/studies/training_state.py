"""All that a training in progress goes on from, put back into a model that was built anew with the same settings.

For any algorithm of SB3, unlike :mod:`sb3_qflex.checkpoint`, and in place: RL Zoo builds the model and calls ``learn``.
"""

import pickle
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_qflex.checkpoint.environments import EnvironmentStates, get_states, restore_statistics, set_states
from sb3_qflex.checkpoint.randomness import get_random_states, set_random_states
from sb3_qflex.checkpoint.streams import cut_streams
from sb3_qflex.vec_env.errors import NotSavableError

_MODEL, _REPLAY, _STATE, _NORMALIZATION = "model.zip", "replay.pkl", "state.pkl", "vecnormalize.pkl"
#: Attributes of SB3's algorithms that change while they learn, beside networks, optimizers and replay data.
_PROGRESS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_last_obs",
    "_last_original_obs",
    "_last_episode_starts",
    "ep_info_buffer",
    "ep_success_buffer",
    "action_noise",
)


def save_training(model: BaseAlgorithm, folder: Path, environments: bool) -> bool:
    """
    :param model: between two rollouts
    :param folder: an empty one
    :param environments: whether to save the states of its environments, if they pickle
    :return: whether they were saved
    """
    assert model.env is not None
    model.save(folder / _MODEL)
    if isinstance(model, OffPolicyAlgorithm):
        model.save_replay_buffer(folder / _REPLAY)
    normalization = unwrap_vec_normalize(model.env)
    if normalization is not None:
        normalization.save(str(folder / _NORMALIZATION))
    states = states_if_savable(model.env) if environments else None
    state = {"random": get_random_states(model.action_space), "environments": states}
    (folder / _STATE).write_bytes(pickle.dumps(state))
    return states is not None


def restore_training(model: BaseAlgorithm, folder: Path) -> bool:
    """
    Environments that do not pickle start new episodes, and the streams of the replay data are cut there.

    :param model: at the start of ``learn``, of the same settings and with like environments
    :param folder: from :func:`save_training`
    :return: whether the environments are where they were
    """
    assert model.env is not None
    data, parameters, variables = load_from_zip_file(folder / _MODEL, device=model.device)
    assert data is not None
    model.set_parameters(parameters, exact_match=True, device=model.device)
    for name, value in (variables or {}).items():
        recursive_setattr(model, f"{name}.data", value.data)
    for name in _PROGRESS:
        if name in data:
            setattr(model, name, data[name])
    if isinstance(model, OffPolicyAlgorithm):
        model.load_replay_buffer(folder / _REPLAY, truncate_last_traj=False)
    statistics = folder / _NORMALIZATION
    restore_statistics(model.env, statistics.read_bytes() if statistics.exists() else None)
    state = pickle.loads((folder / _STATE).read_bytes())
    went_on = go_on(model.env, state["environments"], (model.seed or 0) + model.num_timesteps)
    if not went_on:
        _start_episodes(model, model.env)
    set_random_states(model.action_space, state["random"])
    return went_on


def _start_episodes(model: BaseAlgorithm, env: VecEnv) -> None:
    model._last_obs = env.reset()  # type: ignore[assignment]
    model._last_episode_starts[:] = True  # type: ignore[index]
    if model._vec_normalize_env is not None:
        model._last_original_obs = model._vec_normalize_env.get_original_obs()
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        cut_streams(model.replay_buffer)


def states_if_savable(env: VecEnv) -> EnvironmentStates | None:
    """
    :param env: environments
    :return: their states; None if they do not pickle
    """
    try:
        return get_states(env)
    except NotSavableError:
        return None


def go_on(env: VecEnv, states: EnvironmentStates | None, seed: int) -> bool:
    """
    :param env: environments like those that the states are of
    :param states: from :func:`states_if_savable`
    :param seed: of the episodes to come, where there are no states
    :return: whether the environments are where they were
    """
    if states is not None:
        env.reset()  # takes the seeds that wait for it, which would come after the states
        set_states(env, states)
        return True
    # Not with the episodes that the run began with.
    env.seed(seed % 2**32)
    return False
