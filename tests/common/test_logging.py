"""What is logged, how often it is computed, and that it does not disturb training."""

import pytest
from helpers.small_models import BoxEnv, assert_same, bit_flipping, parameters, small_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sb3_qflex.common import training_log
from sb3_qflex.qflex import qflex

KEYS = {
    "critic_loss",
    "actor_loss",
    "flow_loss",
    "ent_coef",
    "n_updates",
    "learning_rate",
    "flow_superiority",
    "q_source",
    "q_flow",
    "flow_displacement",
    "guidance_displacement",
    "action_grad_norm",
    "truncated_share",
    "clamped_share",
    "updates_per_step",
}


class Recorder(KVWriter):
    """Keeps every dump."""

    def __init__(self):
        self.dumps = []

    def write(self, key_values, key_excluded, step=0):
        self.dumps.append({k.removeprefix("train/"): v for k, v in key_values.items() if k.startswith("train/")})

    def close(self):
        pass


def recorded(model, steps, **kwargs):
    recorder = Recorder()
    model.set_logger(Logger(None, [recorder]))
    model.learn(steps, **kwargs)
    return [dump for dump in recorder.dumps if dump]


@pytest.mark.parametrize("her", [False, True], ids=["box", "dict"])
def test_all_keys(her):
    env, policy = (bit_flipping(), "MultiInputPolicy") if her else (BoxEnv(), "MlpPolicy")
    last = recorded(small_model(env, policy), 60, log_interval=1)[-1]
    assert set(last) == KEYS
    for share in ("flow_superiority", "truncated_share", "clamped_share"):
        assert 0.0 <= last[share] <= 1.0
    assert last["updates_per_step"] == 1.0
    assert last["ent_coef"] == 0.0
    assert last["guidance_displacement"] <= 2 * 0.01 * 10 * max(last["action_grad_norm"], 1.0)


def test_learned_ent_coef_adds_its_loss():
    dumps = recorded(small_model(BoxEnv(), ent_coef="auto"), 60, log_interval=1)
    assert set(dumps[-1]) == KEYS | {"ent_coef_loss"}


def test_updates_per_step_of_many_environments():
    dumps = recorded(small_model(make_vec_env(BoxEnv, 4), gradient_steps=2), 160, log_interval=4)
    assert dumps[-1]["updates_per_step"] == 0.5
    assert dumps[-1]["n_updates"] > 0


@pytest.mark.parametrize(("interval", "computed"), [(10, 4), (20, 2)])
def test_diagnostics_are_computed_at_dumps_but_not_at_all_of_them(monkeypatch, interval, computed):
    calls = []
    monkeypatch.setattr(training_log, "DIAGNOSTICS_INTERVAL", interval)
    original = qflex.flow_diagnostics
    monkeypatch.setattr(qflex, "flow_diagnostics", lambda *args: calls.append(1) or original(*args))
    # Four episodes end at each tenth step (and update), and each of them dumps: one computation for all four, and for
    # the next four, too, where the interval is longer.
    dumps = recorded(small_model(make_vec_env(BoxEnv, 4)), 160, log_interval=1)
    assert len(calls) == computed
    shown = [dump["q_flow"] for dump in dumps if "q_flow" in dump]
    assert len(shown) == 16
    assert len(set(shown)) == computed


def test_means_are_those_since_the_last_dump():
    means = training_log.RunningMeans()
    model = small_model(BoxEnv()).learn(21)
    loss = next(model.actor.parameters()).sum().detach()
    for factor in (1.0, 2.0, 6.0):
        means.add("loss", factor * loss)
    assert means.pop()["loss"] == pytest.approx(3.0 * float(loss))
    assert means.pop() == {}


def test_logging_does_not_change_training():
    runs = [small_model(BoxEnv(), preconditioner="rms").learn(60, log_interval=n) for n in (1, 1000)]
    assert_same(*(parameters(run) for run in runs))


def test_without_updates_nothing_is_logged_under_train():
    assert recorded(small_model(BoxEnv(), learning_starts=1000), 40, log_interval=1) == []


def test_tensorboard(tmp_path):
    small_model(BoxEnv(), tensorboard_log=str(tmp_path)).learn(60, log_interval=1)
    events = EventAccumulator(str(tmp_path / "QFlex_1"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {f"train/{key}" for key in KEYS - {"n_updates"}} <= tags
    assert "rollout/ep_rew_mean" in tags
    assert [event.step for event in events.Scalars("train/flow_superiority")] == [30, 40, 50, 60]
