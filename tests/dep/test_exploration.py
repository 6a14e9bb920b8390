"""DEP inside the algorithms: who acts, what is stored, and that all of it is saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.muscle_env import MUSCLE_BOX, MuscleEnv
from helpers.small_models import BoxEnv, assert_same, parameters
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_qflex import DEPSAC, DEPConfig, DEPCrossQ, DEPQFlex, TrainingCheckpoint
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.dep.config import PRESETS
from sb3_qflex.dep.controller import DEPController, SensorScale
from sb3_qflex.vec_env import BadStateError, WorkerVecEnv

ALGORITHMS = [DEPSAC, DEPCrossQ, DEPQFlex]
# Everything happens within a hundred steps: initial steps, interventions, test episodes.
DEP = {"kappa": 20.0, "tau": 8, "time_dist": 3, "initial_steps": 20, "intervention_length": 3,
       "intervention_proba": 0.3, "test_episode_every": 4, "force_scale": 0.1, "bias_rate": 0.03}  # fmt: skip


def small(algorithm: Any, env: Any, **options: Any) -> Any:
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "seed": 0, "device": "cpu", "dep": DEP}
    kwargs = {"net_arch": [16]}
    if algorithm is not DEPSAC:
        arguments |= {"flow_steps": 2, "guidance_steps": 2}
    return algorithm("MlpPolicy", env, policy_kwargs=kwargs, **{**arguments, **options})


def state(model: Any) -> dict[str, Any]:
    """All that DEP remembers."""
    dep = model._dep
    scale, controller, switch = dep.scale, dep.controller, dep.switch
    return {"extremes": (*scale.low, *scale.high, *scale.last), "controller": vars(controller),
            "switch": vars(switch), "log": (dep.asked, dep.acted)}  # fmt: skip


class Rows(KVWriter):
    """What was logged."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.written.append(dict(key_values))


class Watch(BaseCallback):
    """What environments told and what was done in each vector step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def _on_training_start(self) -> None:
        self.start = [dict(info) for info in self.training_env.unwrapped.reset_infos]

    def _on_step(self) -> bool:
        self.steps.append({
            "stored": self.locals["buffer_actions"].copy(), "done": self.locals["actions"].copy(),
            "infos": [{key: info[key] for key in ("actuator_length", "actuator_force")}
                      for info in self.locals["infos"]],
            "dones": self.locals["dones"].copy(),
            "resets": [dict(info) for info in self.training_env.unwrapped.reset_infos],
        })  # fmt: skip
        return True


def felt(watch: Watch) -> list[np.ndarray]:
    """Lengths and forces (2, E, d) before each vector step."""
    infos = [watch.start]
    for step in watch.steps:
        each = zip(step["infos"], step["resets"], step["dones"], strict=True)
        infos.append([reset if done else info for info, reset, done in each])
    names = ("actuator_length", "actuator_force")
    return [np.array([[info[name] for info in one] for name in names]) for one in infos]


@pytest.mark.parametrize("reset_on_done", [False, True])
@pytest.mark.parametrize("kind", ["dummy", "subproc", "worker", "worker, all"])
def test_dep_makes_the_first_steps_from_what_the_environments_tell(kind: str, reset_on_done: bool) -> None:
    options: dict[str, Any] = {
        "dummy": {"vec_env_cls": DummyVecEnv},
        "subproc": {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}},
        "worker": {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": 1, "start_method": "fork"}},
        "worker, all": {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"start_method": "fork", "infos": "all"}},
    }[kind]
    env, watch = VecNormalize(make_vec_env(MuscleEnv, 2, seed=0, **options)), Watch()
    config = DEPConfig.of({**DEP, "initial_steps": 78, "reset_on_done": reset_on_done})
    model = small(DEPSAC, env, dep=config, learning_starts=80).learn(80, watch)
    env.close()
    controller, scale = DEPController(config, 2, 3), SensorScale(2, 3)
    moved = 0.0
    for step, readings in zip(watch.steps, felt(watch), strict=False):
        scale.update(*readings)
        expected = controller.step(config, scale.sensors(config.force_scale)).astype(np.float32)
        np.testing.assert_array_equal(step["stored"], expected)
        np.testing.assert_array_equal(step["done"], model.policy.unscale_action(expected))
        assert all(MUSCLE_BOX.contains(one) for one in step["done"])
        moved = max(moved, float(np.abs(expected).max()))
        if reset_on_done:
            controller.restart(step["dones"])
    assert moved > 0.5
    stored = np.array([step["stored"] for step in watch.steps])
    np.testing.assert_array_equal(model.replay_buffer.actions[:40], stored)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_trains_and_interrupts(algorithm: Any) -> None:
    model, rows = small(algorithm, make_vec_env(MuscleEnv, 2)), Rows()
    model.set_logger(Logger(None, [rows]))
    start = parameters(model)
    model.learn(200, log_interval=4)
    assert model._n_updates > 0
    assert any(not th.equal(value, start[name]) for name, value in parameters(model).items())
    # Four episodes are twenty vector steps. DEP makes the first eleven alone (at the environment steps 0, 2, .. 20);
    # later every other pair of episodes is the policy's.
    shares = [row["rollout/dep_share"] for row in rows.written]
    assert 11 / 20 <= shares[0] < 1.0
    assert len(shares) == 5 and max(shares[1:]) <= 0.5 and sum(shares[1:]) > 0.0
    assert model.predict(np.zeros(3, np.float32), deterministic=True)[0].shape == (3,)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_resumed_training_equals_one_that_was_not_broken_off(algorithm: Any, tmp_path: Path) -> None:
    def env() -> Any:
        return make_vec_env(MuscleEnv, 2, seed=1)

    whole = small(algorithm, env()).learn(124, log_interval=None)
    with pytest.raises(ConnectionAbortedError):
        callbacks = [TrainingCheckpoint(tmp_path, every=24), BreakOff(84)]
        small(algorithm, env()).learn(124, callbacks, log_interval=None)
    resumed = algorithm.resume(tmp_path, env(), device="cpu")
    assert 20 < resumed.num_timesteps <= 84
    before = resumed._dep.acted
    resumed.learn(124 - resumed.num_timesteps, log_interval=None, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))
    assert_equal(state(whole), state(resumed))
    assert resumed._dep.acted > before > 11


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_saved_copy_has_dep_too(algorithm: Any, tmp_path: Path) -> None:
    model = small(algorithm, MuscleEnv(), gamma=0.9).learn(60)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", MuscleEnv(), device="cpu")
    assert loaded.dep == DEPConfig.of(DEP) and loaded.gamma == 0.9
    assert_same(parameters(model), parameters(loaded))
    assert_equal(state(model), state(loaded))
    obs = np.full(3, 0.3, np.float32)
    np.testing.assert_array_equal(*(one.predict(obs, deterministic=True)[0] for one in (model, loaded)))
    assert (getattr(loaded, "exploration", "source"), loaded.ent_coef) == {
        DEPSAC: ("source", "auto"), DEPCrossQ: ("source", "auto"), DEPQFlex: ("flow", 0.0)
    }[algorithm]  # fmt: skip
    with pytest.warns(UserWarning, match="without its replay buffer"):
        loaded.learn(30)
    # The initial steps are over, although the count of steps began anew.
    assert loaded._dep.switch.steps == 90
    other = algorithm.load(tmp_path / "model", MuscleEnv(), device="cpu", dep="ostrich", learning_starts=0)
    assert other.dep == PRESETS["ostrich"] != DEPConfig.of(DEP)
    other.learn(30)
    assert other._dep.switch.steps == 90


def test_another_number_of_environments_keeps_the_count_of_steps(tmp_path: Path) -> None:
    small(DEPSAC, MuscleEnv()).learn(60).save(tmp_path / "model")
    loaded = DEPSAC.load(tmp_path / "model", make_vec_env(MuscleEnv, 3), device="cpu", learning_starts=0)
    loaded.learn(30)
    assert loaded._dep.shape == (3, 3)
    assert loaded._dep.switch.steps == 90


def test_settings_may_change_between_and_act_from_then_on() -> None:
    model = small(DEPSAC, MuscleEnv()).learn(30)
    extremes = [array.copy() for array in (*model._dep.scale.low, *model._dep.scale.high)]
    model.dep = {**DEP, "tau": 5, "intervention_proba": 0.0, "intervention_length": 1, "test_episode_every": None}
    assert model.dep.tau == 5
    assert_equal(extremes, [*model._dep.scale.low, *model._dep.scale.high])
    model._dep.asked = model._dep.acted = 0
    model.learn(20, log_interval=None, reset_num_timesteps=False)
    assert model._dep.acted <= 1  # an intervention that was under way
    with pytest.raises(ValueError, match="tau must be an integer"):
        model.dep = {"tau": 0}
    assert model.dep.tau == 5


def test_after_initial_steps_only_infos_are_left_alone() -> None:
    class Keys(BaseCallback):
        def _on_step(self) -> bool:
            self.keys = {name for info in self.locals["infos"] for name in dict.keys(info)}
            return True

    options = {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": 1, "start_method": "fork"}}
    env, keys = make_vec_env(MuscleEnv, 2, **options), Keys()
    dep = {**DEP, "switching": "initial only", "initial_steps": 0}
    model = small(DEPSAC, env, dep=dep).learn(60)
    model.learn(60, keys, reset_num_timesteps=False)
    assert "actuator_length" not in keys.keys
    assert model._dep.switch.steps == 120
    env.close()


def test_missing_sensors_are_an_error_before_the_first_step() -> None:
    for env in (BoxEnv(), make_vec_env(BoxEnv, 2)):
        with pytest.raises(UnsupportedError, match=r"DEPSAC needs actuator_length.*sb3_qflex\.envs\.MuscleSensors"):
            small(DEPSAC, env).learn(10)


def test_stripped_infos_are_an_error() -> None:
    options = {"start_method": "fork", "infos": "essential"}
    env = make_vec_env(MuscleEnv, 2, vec_env_cls=WorkerVecEnv, vec_env_kwargs=options)
    with pytest.raises(UnsupportedError, match=r"'actuator_length' was not sent.*infos='auto' or 'all'"):
        small(DEPSAC, env).learn(10)
    env.close()


def test_muscles_and_actions_have_to_be_as_many() -> None:
    class Fewer(MuscleEnv):
        def _sensors(self) -> dict[str, np.ndarray]:
            return {name: value[:2] for name, value in super()._sensors().items()}

    with pytest.raises(UnsupportedError, match="there are 2 muscles and 3 actions"):
        small(DEPSAC, Fewer()).learn(10)


def test_sensors_of_a_diverged_simulation_are_named() -> None:
    class Sick(MuscleEnv):
        def _sensors(self) -> dict[str, np.ndarray]:
            sensors = super()._sensors()
            sensors["actuator_force"][1] = np.nan if self.n_steps == 3 else 0.0
            return sensors

    with pytest.raises(BadStateError, match=r"actuator_force\[1\] of environment 0 is nan"):
        small(DEPSAC, Sick()).learn(10)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bad_arguments_are_refused_at_construction(algorithm: Any) -> None:
    with pytest.raises(ValueError, match="preset of dep='myo_lag' is unknown, did you mean 'myo_leg'"):
        small(algorithm, MuscleEnv(), dep="myo_lag")
    with pytest.raises(TypeError, match=f"{algorithm.__name__} has no option 'dop', did you mean 'dep'"):
        small(algorithm, MuscleEnv(), dop="myo_leg")
    with pytest.raises(TypeError, match="gSDE is not supported"):
        small(algorithm, MuscleEnv(), use_sde=True)


def test_its_policy_is_exported_as_that_of_its_base(tmp_path: Path) -> None:
    for algorithm in ALGORITHMS:
        model = small(algorithm, MuscleEnv()).learn(40)
        obs = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 3)).astype(np.float32)
        expected = model.predict(obs, deterministic=True)[0]
        script = th.jit.load(str(model.export_torchscript(tmp_path / algorithm.__name__)))
        noise = () if "noise" not in str(script.forward.schema) else (th.zeros(6, 3),)
        np.testing.assert_allclose(script(th.as_tensor(obs), *noise).numpy(), expected, atol=1e-5)
        loaded = type(model.policy).load(model.policy.export_policy(tmp_path / "policy"), device="cpu")
        np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], expected)
