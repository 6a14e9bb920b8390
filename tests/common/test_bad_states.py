"""A number that is not finite, or too large, ends in an error or in a truncation, before anything keeps it."""

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from helpers.small_models import BoxEnv, small_model
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecNormalize

from sb3_qflex import QFlex
from sb3_qflex.common.bad_states import FREE_BAD_STATES, guard
from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
from sb3_qflex.vec_env import BadStateError, BadStateGuard, WorkerVecEnv

ACTIONS = np.zeros((3, 2), np.float32)
DICT = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,)), "n": spaces.Discrete(3)})


class SickEnv(BoxEnv):
    """Gives one bad number at given steps since its making; resets may be bad as well."""

    def __init__(
        self, at: Any = (), what: str = "observation", value: float = np.nan, bad_resets: int = 0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.at, self.what, self.value, self.bad_resets = set(at), what, value, bad_resets
        self.count = 0
        self.resets = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        observation, _ = super().reset(seed=seed, options=options)
        self.resets += 1
        if self.bad_resets:
            self.bad_resets -= 1
            observation = self._spoil(observation)
        return observation, {"resets": self.resets}

    def step(self, action: np.ndarray):
        observation, reward, terminated, truncated, info = super().step(action)
        self.count += 1
        if self.count in self.at:
            if self.what == "observation":
                observation = self._spoil(observation)
            else:
                reward = self.value
        return observation, reward, terminated, truncated, info

    def _spoil(self, observation: Any) -> Any:
        part = observation["a"] if isinstance(observation, dict) else observation
        part[1] = self.value
        return observation


def healthy_but_second(n: int = 3, **kwargs: Any) -> list[Any]:
    space = kwargs.pop("observation_space", None)

    def make(sick: bool) -> SickEnv:
        return SickEnv(observation_space=space, **(kwargs if sick else {}))

    return [lambda i=i: Monitor(make(i == 1)) for i in range(n)]


class Recorder(KVWriter):
    """Keeps what was logged as rollout/bad_states."""

    def __init__(self) -> None:
        self.counts: list[float] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.counts.append(key_values["rollout/bad_states"])

    def close(self) -> None:
        pass


class Seen(BaseCallback):
    """Keeps what a function gives at each step."""

    def __init__(self, look: Callable[[], Any]) -> None:
        super().__init__()
        self.look, self.values = look, []

    def _on_step(self) -> bool:
        self.values.append(self.look())
        return True


VEC_ENVS = {
    "dummy": DummyVecEnv,
    "subproc": lambda fns: SubprocVecEnv(fns, start_method="fork"),
    "worker": lambda fns: WorkerVecEnv(fns, n_workers=2, start_method="fork", infos="all"),
}


@pytest.mark.parametrize("kind", VEC_ENVS)
@pytest.mark.parametrize("space", [None, DICT], ids=["box", "dict"])
def test_truncation_at_the_last_good_observation(kind: str, space: spaces.Space | None) -> None:
    env = VEC_ENVS[kind](healthy_but_second(at=[3], observation_space=space))
    bad = guard(env, "truncate")
    assert bad is not None
    env.reset()
    env.step(ACTIONS)
    before = env.step(ACTIONS)[0]
    observations, rewards, dones, infos = env.step(ACTIONS)
    assert dones.tolist() == [False, True, False] and rewards[1] == 0.0
    name = "observation" if space is None else "observation['a']"
    assert (infos[1]["diverged"], infos[1]["bad_state"]) == (True, f"{name}[1] is nan")
    assert infos[1]["TimeLimit.truncated"] is True and not infos[0]["TimeLimit.truncated"]
    for key in [None] if space is None else ["a", "n"]:
        last, terminal, now = (
            (x if key is None else x[key]) for x in (before, infos[1]["terminal_observation"], observations)
        )
        np.testing.assert_array_equal(terminal, last[1])
        assert np.isfinite(now).all()
    assert env.reset_infos[1]["resets"] == 2 and env.get_attr("n_steps") == [3, 0, 3]
    assert bad.bad_states == 1
    # The new episode runs its whole length.
    for _ in range(9):
        assert not env.step(ACTIONS)[2][1]
    assert env.step(ACTIONS)[2][1]
    env.close()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"at": [2]}, r"Environment 1, step 2: observation\[1\] is nan"),
        ({"at": [2], "value": -np.inf}, r"observation\[1\] is -inf"),
        ({"at": [2], "value": 2e10}, r"observation\[1\] is 2e\+10 \(finite numbers up to 1e\+10 are good\)"),
        ({"at": [2], "what": "reward"}, "Environment 1, step 2: reward is nan"),
        ({"at": [10]}, r"Environment 1, step 10: terminal observation\[1\] is nan"),
        ({"bad_resets": 1}, r"Environment 1, step 0: observation\[1\] is nan"),
    ],
    ids=str,
)
def test_raising_names_environment_step_and_entry(options: dict[str, Any], message: str) -> None:
    env = DummyVecEnv(healthy_but_second(**options))
    guard(env, "raise")
    with pytest.raises(BadStateError, match=message):
        env.reset()
        for _ in range(10):
            env.step(ACTIONS)


def test_the_last_step_of_an_episode_and_a_bad_restart() -> None:
    env = DummyVecEnv(healthy_but_second(at=[10], what="reward", bad_resets=2))
    guard(env, "truncate")
    assert np.isfinite(env.reset()).all()
    for _ in range(10):
        observations, rewards, dones, infos = env.step(ACTIONS)
    assert dones.all() and np.isfinite(rewards).all() and np.isfinite(observations).all()
    # The environment had ended its episode itself; a Monitor's sum of it would hold the NaN.
    assert "episode" in infos[0] and "episode" not in infos[1]
    assert env.get_attr("resets")[1] == 4


def test_an_environment_that_stays_bad() -> None:
    env = DummyVecEnv([lambda: SickEnv(bad_resets=99)])
    guard(env, "truncate")
    with pytest.raises(BadStateError, match="3 resets did not give a good observation"):
        env.reset()


def test_too_many_bad_states() -> None:
    env = DummyVecEnv([lambda: SickEnv(at=range(10_000))])
    guard(env, "truncate")
    env.reset()
    with pytest.raises(BadStateError, match=rf"{FREE_BAD_STATES + 1} steps were truncated in .* more than 1%"):
        for _ in range(FREE_BAD_STATES + 1):
            env.step(ACTIONS[:1])


@pytest.mark.parametrize("mode", ["raise", "truncate"])
def test_bad_actions_always_raise(mode: str) -> None:
    env = DummyVecEnv(healthy_but_second())
    guard(env, mode)
    env.reset()
    actions = ACTIONS.copy()
    actions[2, 1] = np.nan
    with pytest.raises(BadStateError, match=r"Environment 2, step 0: action\[1\] is nan"):
        env.step(actions)


def test_the_array_environment() -> None:
    env = PlanarChainVecEnv(3, 4)
    guard(env, "truncate")
    env.reset()
    env.targets[1] = np.nan
    observations, rewards, dones, infos = env.step(np.zeros((3, 4), np.float32))
    assert dones.tolist() == [False, True, False] and rewards[1] == 0.0 and infos[1]["diverged"]
    assert np.isfinite(observations).all() and np.isfinite(env.targets).all()


def test_pickled_and_detached() -> None:
    env = DummyVecEnv([lambda: SickEnv(at=[2, 3])])
    guard(env, "truncate")
    env.reset()
    env.env_fns = []
    copy = pickle.loads(pickle.dumps(env))
    copy.step(ACTIONS[:1])
    assert copy.step(ACTIONS[:1])[3][0]["diverged"]
    # Each has its own guard and environment.
    assert env.get_attr("count") == [0]
    guard(copy, "off")
    assert np.isnan(copy.step(ACTIONS[:1])[0]).any()
    guard(copy, "off")


def test_statistics_of_normalisation_stay_clean_and_the_log_counts() -> None:
    env = VecNormalize(VecFrameStack(DummyVecEnv(healthy_but_second(at=[5, 12], value=1e30)), 2))
    venv = env.unwrapped
    model = small_model(env, bad_states="truncate", learning_starts=10)
    recorder = Recorder()
    model.set_logger(Logger(None, [recorder]))
    model.learn(90, log_interval=1)
    assert model.get_env() is env and env.unwrapped is venv
    assert np.isfinite(env.obs_rms.mean).all() and np.abs(env.obs_rms.mean).max() < 10
    assert np.abs(model.replay_buffer.observations).max() <= 1.0
    assert recorder.counts and recorder.counts[-1] == 2
    # Another learn goes on with the same guard.
    bad = model._bad_state_guard
    model.learn(9, reset_num_timesteps=False)
    assert model._bad_state_guard is bad and bad.bad_states == 2


def test_evaluation_is_not_touched_and_not_disturbed() -> None:
    env, eval_env = (VecNormalize(make_vec_env(BoxEnv, 1)) for _ in range(2))
    model = small_model(env, bad_states="truncate")
    guarded = Seen(lambda: ["step_wait" in vars(each.unwrapped) for each in (env, eval_env)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(30, callback=[EvalCallback(eval_env, eval_freq=10, n_eval_episodes=1, verbose=0), guarded])
        small_model(make_vec_env(BoxEnv, 1)).learn(
            30, callback=EvalCallback(make_vec_env(BoxEnv, 1), eval_freq=10, n_eval_episodes=1, verbose=0)
        )
    assert guarded.values == [[True, False]] * 30


@pytest.mark.parametrize("kind", VEC_ENVS)
@pytest.mark.parametrize("space", [None, DICT], ids=["box", "dict"])
def test_after_learning_the_environment_is_as_it_was(kind: str, space: spaces.Space | None) -> None:
    env = VEC_ENVS[kind]([lambda: SickEnv(at=[25], observation_space=space) for _ in range(2)])
    before = set(vars(env)) | {"actions"}
    policy = "MlpPolicy" if space is None else "MultiInputPolicy"
    model = small_model(env, policy).learn(40)
    assert set(vars(env)) <= before
    # Somebody else's algorithm gets what the environment gives, and ours raises again.
    for _ in range(5):
        observations = env.step(ACTIONS[:2])[0]
    assert np.isnan(observations if space is None else observations["a"]).any()
    env.set_attr("count", 0)
    with pytest.raises(BadStateError, match="is nan"):
        model.learn(100)
    assert set(vars(env)) <= before
    env.close()


def test_what_was_there_before_is_called_and_comes_back() -> None:
    env = DummyVecEnv([lambda: SickEnv(at=[35])])
    calls: list[int] = []
    original = env.step_wait

    def counted() -> Any:
        calls.append(1)
        return original()

    env.step_wait = counted  # type: ignore[method-assign]
    model = small_model(env).learn(30)
    assert len(calls) == 30 and env.step_wait is counted
    with pytest.raises(BadStateError):
        model.learn(30)
    assert len(calls) == 35 and env.step_wait is counted


def test_a_method_replaced_while_learning_keeps_working() -> None:
    env = DummyVecEnv([lambda: SickEnv(at=[35])])
    model = small_model(env)

    def replace() -> None:
        if model.num_timesteps == 5:
            below = env.step_wait
            env.step_wait = lambda: below()  # type: ignore[method-assign]

    model.learn(30, callback=Seen(replace))
    for _ in range(5):
        observations = env.step(ACTIONS[:1])[0]
    assert np.isnan(observations).any()
    env.set_attr("count", 0)
    with pytest.raises(BadStateError):
        model.learn(100)


def test_the_option_assigned_in_a_callback_acts() -> None:
    env = DummyVecEnv([lambda: SickEnv(at=[5, 15, 25])])
    model = small_model(env, learning_starts=100)
    modes = {1: "truncate", 10: "off", 20: "raise"}

    def look() -> None:
        model.bad_states = modes.get(model.num_timesteps, model.bad_states)

    with pytest.raises(BadStateError, match="is nan"):
        model.learn(40, callback=Seen(look))
    assert model.num_timesteps == 24
    observations = model.replay_buffer.next_observations[:24]
    assert np.isnan(observations).any(axis=(1, 2)).nonzero()[0].tolist() == [14]


def test_a_guard_of_the_users_own_stays() -> None:
    env: VecEnv = DummyVecEnv([BoxEnv])
    own = BadStateGuard(env, "truncate", limit=5.0)
    own.attach()
    for mode in ("raise", "off"):
        small_model(env, bad_states=mode).learn(5)
        assert guard(env, "truncate") is own and own.mode == "truncate"


def test_the_option_is_kept_and_reaches_later_environments(tmp_path: Any) -> None:
    small_model(SickEnv(), bad_states="truncate").save(tmp_path / "model")
    loaded = QFlex.load(tmp_path / "model", env=SickEnv(at=[4]), device="cpu")
    loaded.learn(15)
    assert loaded._bad_state_guard is not None and loaded._bad_state_guard.bad_states == 1
    loaded.set_env(SickEnv(at=[4]))
    loaded.learn(15)
    assert loaded._bad_state_guard.bad_states == 1
    raising = QFlex.load(tmp_path / "model", env=SickEnv(at=[4]), device="cpu", bad_states="raise")
    with pytest.raises(BadStateError, match="step 4"):
        raising.learn(15)


def test_limits_of_the_users_own() -> None:
    env: VecEnv = DummyVecEnv([BoxEnv])
    BadStateGuard(env, limit=1e-9).attach()
    with pytest.raises(BadStateError, match="up to 1e-09"):
        small_model(env).learn(5)
    with pytest.raises(ValueError, match="limit must be a positive number, not 0"):
        BadStateGuard(env, limit=0)
    with pytest.raises(ValueError, match="mode='ignore'"):
        BadStateGuard(env, "ignore")  # type: ignore[arg-type]


def test_infinite_limit_still_refuses_what_is_not_finite() -> None:
    env = DummyVecEnv([lambda: SickEnv(at=[1], value=1e30), lambda: SickEnv(at=[2], value=np.inf)])
    BadStateGuard(env, limit=np.inf).attach()
    env.reset()
    env.step(ACTIONS[:2])
    with pytest.raises(BadStateError, match="Environment 1, step 2"):
        env.step(ACTIONS[:2])
