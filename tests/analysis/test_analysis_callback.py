"""DiagnosticsCallback: what it logs, and that training goes on as without it."""

import gymnasium as gym
import numpy as np
import pytest
from helpers.small_models import BoxEnv, assert_same, bit_flipping, parameters, small_model
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sb3_qflex import DiagnosticsCallback, QFlex
from sb3_qflex.analysis.actuators import actuator_names

SCALARS = {
    "flow_superiority",
    "flow_displacement",
    "q_gain",
    "q_gain_t0",
    "q_gain_t0.5",
    "q_gain_t1",
    "correlation_between",
    "source_correlation",
}


def small_callback(**kwargs):
    return DiagnosticsCallback(
        **{"every": 10, "n_states": 8, "n_noise_states": 4, "n_samples": 4, "image": False, **kwargs}
    )


class Actuator:
    def __init__(self, name):
        self.name = name


class Model:
    """The part of MuJoCo's model that has names."""

    nu = 2

    def actuator(self, index):
        return Actuator(["glmax1_r", "glmax2_r"][index])


class NamedEnv(BoxEnv):
    """Two muscles of one group."""

    def __init__(self):
        super().__init__()
        self.model = Model()


def test_scalars_and_the_picture_reach_tensorboard(tmp_path):
    small_model(NamedEnv(), tensorboard_log=str(tmp_path)).learn(
        60, small_callback(every=30, image=True), log_interval=1
    )
    events = EventAccumulator(str(tmp_path / "QFlex_1"))
    events.Reload()
    scalars = {tag.removeprefix("diagnostics/") for tag in events.Tags()["scalars"] if tag.startswith("diagnostics/")}
    # Two flow steps: 0.25 is nearest to step 0. One group of two: there is no pair between groups.
    assert scalars == {*SCALARS - {"correlation_between"}, "correlation_within"}
    assert events.Tags()["images"] == ["diagnostics/correlation"]
    assert [event.step for event in events.Scalars("diagnostics/q_gain")] == [30, 60]


@pytest.mark.parametrize("options", [{}, {"preconditioner": "rms"}, {"exploration": "source"}], ids=str)
def test_training_is_the_same_with_and_without(options):
    runs = [small_model(BoxEnv(), **options).learn(60, callback) for callback in (None, small_callback())]
    assert_same(*(parameters(run) for run in runs))
    np.testing.assert_array_equal(*(run.replay_buffer.actions for run in runs))
    for with_callback in runs[1:]:
        assert "diagnostics/q_gain" in with_callback.logger.name_to_value


@pytest.mark.parametrize("replay", [{}, {"replay_buffer_class": HerReplayBuffer}], ids=str)
def test_a_loaded_model_is_looked_at_once_it_has_states(replay, tmp_path):
    env = bit_flipping() if replay else BoxEnv()
    policy = "MultiInputPolicy" if replay else "MlpPolicy"
    small_model(env, policy, **replay).learn(40).save(tmp_path / "model")
    model = QFlex.load(tmp_path / "model", env, device="cpu")
    callback = small_callback(every=1)
    with pytest.warns(UserWarning, match="goes on without its replay buffer"):
        model.learn(20, callback, reset_num_timesteps=False)
    assert callback._last == 40
    model.learn(10, callback, reset_num_timesteps=False)
    assert callback._last == 70


def test_dict_observations():
    model = small_model(bit_flipping(), "MultiInputPolicy").learn(40, small_callback())
    assert np.isfinite(model.logger.name_to_value["diagnostics/source_correlation"])


def test_other_algorithms_and_bad_numbers_are_refused():
    with pytest.raises(TypeError, match="SAC"):
        SAC("MlpPolicy", BoxEnv(), buffer_size=10).learn(1, DiagnosticsCallback())
    for name, value in {"every": 0, "n_states": 0, "n_noise_states": 0, "n_samples": 1}.items():
        with pytest.raises(ValueError, match=name):
            DiagnosticsCallback(**{name: value})


def test_names_of_actuators_in_this_process_and_in_others():
    expected = ["glmax1_r", "glmax2_r"]
    assert actuator_names(make_vec_env(NamedEnv, 2)) == expected
    workers = make_vec_env(NamedEnv, 1, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
    assert actuator_names(workers) == expected
    workers.close()
    nameless = make_vec_env(BoxEnv, 1, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
    assert actuator_names(nameless) is None
    nameless.reset()  # the worker is alive
    nameless.close()
    assert actuator_names(make_vec_env(lambda: gym.make("Pendulum-v1"), 1)) is None
