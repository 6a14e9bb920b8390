"""Whoever reads an info finds what the environment gave, or an error: never a default in the place of a value."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.small_models import BoxEnv, ReachEnv, small_model
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from sb3_qflex import QFlex
from sb3_qflex.vec_env import WorkerVecEnv

ESSENTIAL = {"TimeLimit.truncated", "terminal_observation", "episode", "is_success"}
ACTIONS = np.full((2, 2), 0.5, np.float32)
HER = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"copy_info_dict": True}}


class EffortEnv(BoxEnv):
    """Tells the squared action, and the step within the episode where it is the last."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        info |= {"effort": float(np.square(action).sum()), "large": np.zeros(1000)}
        if truncated:
            info["last"] = self.n_steps
        return observation, reward, terminated, truncated, info


class EffortReachEnv(ReachEnv):
    """Its reward takes the effort off, which only the info tells; so it is known from a sample."""

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        observation, _, terminated, truncated, info = super().step(action)
        info["effort"] = float(np.square(action).sum())
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], info)
        return observation, float(reward), terminated, truncated, info

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        infos = [info] if isinstance(info, dict) else info
        effort = np.array([each.get("effort", 0.0) for each in infos]).reshape(np.shape(achieved_goal)[:-1])
        return -np.linalg.norm(achieved_goal - desired_goal, axis=-1) - effort


def workers(make: Callable[[], Any] = EffortEnv, **kwargs: Any) -> WorkerVecEnv:
    options = {"n_workers": 2, "start_method": "fork", **kwargs}
    env = make_vec_env(make, 2, seed=0, vec_env_cls=WorkerVecEnv, vec_env_kwargs=options)
    assert isinstance(env, WorkerVecEnv)
    return env


def sent(info: dict[str, Any]) -> set[str]:
    """What has left the worker, without asking for more."""
    return set(dict.keys(info))


class Reader(BaseCallback):
    """Reads the infos of each step in some way."""

    def __init__(self, read: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self.read, self.values = read, []

    def _on_step(self) -> bool:
        self.values.append([self.read(info) for info in self.locals["infos"]])
        return True


# --- HER ---


def share_of_wrong_rewards(model: Any) -> float:
    batch = model.replay_buffer.sample(500)
    reached, wanted = (batch.next_observations[key] for key in ("achieved_goal", "desired_goal"))
    truth = -(reached - wanted).norm(dim=1) - batch.actions.square().sum(1)
    return float(((truth - batch.rewards.flatten()).abs() > 1e-3).float().mean())


@pytest.mark.parametrize("infos", ["auto", "all", ["effort"]], ids=str)
@pytest.mark.parametrize("algorithm", [QFlex, SAC])
def test_rewards_of_relabelled_goals(algorithm: Any, infos: Any, tmp_path: Any) -> None:
    env = workers(EffortReachEnv, infos=infos)
    options = {
        "seed": 0,
        "learning_starts": 60,
        "buffer_size": 400,
        "batch_size": 8,
        "policy_kwargs": {"net_arch": [8]},
    }
    model = algorithm("MultiInputPolicy", env, **options, **HER).learn(100)
    assert share_of_wrong_rewards(model) == 0.0
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = algorithm.load(tmp_path / "model", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer")
    loaded.learn(60, reset_num_timesteps=False)
    assert share_of_wrong_rewards(loaded) == 0.0
    env.close()


@pytest.mark.parametrize("algorithm", [QFlex, SAC])
def test_stripped_infos_are_an_error_of_her_and_no_reward(algorithm: Any) -> None:
    env = workers(EffortReachEnv, infos="essential")
    model = algorithm("MultiInputPolicy", env, seed=0, learning_starts=40, batch_size=8, buffer_size=400, **HER)
    with pytest.raises(KeyError, match=r"'effort' was not sent.*infos='all'"):
        model.learn(100)
    env.close()


class Keeping(ReplayBuffer):
    """A buffer of the user's own, which keeps a value that it reads when it is asked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.infos: list[Any] = []

    def add(self, *args: Any) -> None:
        self.infos.extend(args[-1])
        super().add(*args)


def test_a_buffer_of_the_users_own_keeps_whole_infos() -> None:
    env = workers()
    model = small_model(env, replay_buffer_class=Keeping).learn(30)
    assert all(info.get("effort", 0.0) > 0.0 for info in model.replay_buffer.infos)
    env.close()


# --- What QFlex's loop leaves in the workers ---


@pytest.mark.parametrize(
    "make, policy, options",
    [(EffortEnv, "MlpPolicy", {}), (EffortReachEnv, "MultiInputPolicy", {"replay_buffer_class": HerReplayBuffer})],
    ids=["box", "her"],
)
def test_infos_that_nobody_reads_stay_where_they_are(make: Any, policy: str, options: dict[str, Any]) -> None:
    env = workers(make)
    reader = Reader(sent)
    model = small_model(VecNormalize(env), policy, **options).learn(40, callback=reader)
    assert all(keys <= ESSENTIAL for infos in reader.values for keys in infos)
    assert len(model.ep_info_buffer) == 4
    # And whole ones for whoever uses the environment next.
    assert "effort" in sent(env.step(ACTIONS)[3][0])
    env.close()


READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "get": lambda info: info.get("effort", 0.0),
    "subscript": lambda info: info["effort"],
    "in": lambda info: "effort" in info and "last" not in info,
    "items": lambda info: sorted(key for key, _ in info.items()),
    "values": lambda info: len(info.values()),
    "iteration": lambda info: sorted(info),
    "keys": lambda info: sorted(info.keys()),
    "length": len,
    "reversed": lambda info: sorted(reversed(info)),
    "printed": lambda info: "effort" in repr(info),
    "deletion": lambda info: info.__delitem__("effort") if "effort" in info else None,
    "any": lambda info: sorted([info.popitem()[0], *info]),
    "unpacked": lambda info: sorted({**info}),
    "dict": lambda info: dict(info)["effort"],
    "update": lambda info: ({}.update(info), sorted(info))[1],
    "or": lambda info: (info | {"a": 1}).get("effort", 0.0) + ({"a": 1} | info).get("effort", 0.0),
    "pop": lambda info: info.pop("effort", 0.0),
    "setdefault": lambda info: info.setdefault("effort", 0.0),
    "copy": lambda info: info.copy().get("effort", 0.0) + copy.copy(info).get("effort", 0.0),
    "deepcopy": lambda info: sorted(copy.deepcopy(info)),
    "pickle": lambda info: sorted(pickle.loads(pickle.dumps(info))),
    "json": lambda info: json.loads(json.dumps(info, default=str)).get("effort", 0.0),
    "absent": lambda info: (info.get("nothing"), "nothing" in info, info.get("last", -1)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_callbacks_find_what_dummy_vec_env_gives(read: Callable[[dict[str, Any]], Any]) -> None:
    def values(env: VecEnv) -> list[Any]:
        reader = Reader(read)
        small_model(env).learn(30, callback=reader)
        env.close()
        return reader.values

    theirs = values(make_vec_env(EffortEnv, 2, seed=0))
    for infos in ("auto", "all"):
        assert values(workers(infos=infos)) == theirs


def test_a_key_that_no_environment_gives_is_missing_as_ever() -> None:
    env = workers()
    env.reset()
    with env.essential_infos():
        info = env.step(ACTIONS)[3][0]
        with pytest.raises(KeyError, match=r"^'nothing'$"):
            info["nothing"]
        assert "effort" in sent(info)
    env.close()


def test_wrappers_that_read_infos() -> None:
    episodes = []
    for env in (make_vec_env(EffortEnv, 2, seed=0), workers()):
        reader = Reader(lambda info: {key: value for key, value in info.get("episode", {}).items() if key != "t"})
        small_model(VecMonitor(env, info_keywords=("effort", "last"))).learn(60, callback=reader)
        episodes.append([info for infos in reader.values for info in infos])
        env.close()
    assert episodes[0] == episodes[1]
    assert [info["last"] for info in episodes[1] if info] == [10] * 6


def test_infos_read_too_late_are_an_error() -> None:
    env = workers()
    env.reset()
    with env.essential_infos():
        late = env.step(ACTIONS)[3][0]
        env.step(ACTIONS)
        for info in (late, late.copy(), pickle.loads(pickle.dumps(late)), copy.deepcopy(late)):
            for read in (lambda one: one.get("effort", 0.0), lambda one: "effort" in one, sorted):
                with pytest.raises(KeyError, match=r"another step since.*infos='all'"):
                    read(info)
            # What SB3 reads was sent, or is known to be absent.
            assert info["TimeLimit.truncated"] is False and info.get("episode") is None and "is_success" not in info
    env.close()


def test_what_was_changed_since_is_not_brought_back() -> None:
    env = workers()
    env.reset()
    with env.essential_infos():
        for _ in range(10):
            info = env.step(ACTIONS)[3][1]
        info["terminal_observation"] = info["terminal_observation"] + 5.0
        info["effort"] = -1.0
        assert info.pop("episode")["l"] == 10
        assert info["last"] == 10 and info["effort"] == -1.0
        assert "episode" not in info and float(info["terminal_observation"].min()) > 3.0
        # Who reads once will read again: the next come whole.
        assert "effort" in sent(env.step(ACTIONS)[3][0])
    env.close()


@pytest.mark.parametrize("infos", ["essential", ["effort"]], ids=str)
def test_what_the_user_left_out_is_an_error(infos: Any) -> None:
    env = workers(infos=infos)
    env.reset()
    info = env.step(ACTIONS)[3][0]
    for read in (lambda one: one.get("large"), lambda one: one["large"], lambda one: "large" in one):
        for each in (info, pickle.loads(pickle.dumps(info))):
            with pytest.raises(KeyError, match=r"'large' was not sent.*infos='all'"):
                read(each)
    assert set(info) == {"TimeLimit.truncated"} | ({"effort"} if infos == ["effort"] else set())
    env.close()


def test_other_algorithms_get_whole_infos() -> None:
    env = workers()
    reader = Reader(sent)
    SAC("MlpPolicy", env, learning_starts=100, buffer_size=100, policy_kwargs={"net_arch": [8]}).learn(4, reader)
    assert all("effort" in keys for infos in reader.values for keys in infos)
    env.close()


def test_infos_of_truncated_bad_states() -> None:
    class Sick(EffortEnv):
        def step(self, action: np.ndarray) -> Any:
            observation, *rest = super().step(action)
            return np.full_like(observation, np.nan) if self.n_steps == 3 else observation, *rest

    env = workers(Sick)
    reader = Reader(lambda info: (sent(info), info.get("bad_state", "")))
    small_model(env, bad_states="truncate").learn(6, callback=reader)
    assert "effort" not in reader.values[0][0][0] and reader.values[2][0][1] == "observation[0] is nan"
    env.close()
