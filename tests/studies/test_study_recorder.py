"""What a run of a study measures of itself."""

import json
from pathlib import Path

import pytest
from helpers.small_models import SMALL
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlex
from sb3_qflex.speed.loop_timer import Stopwatch
from sb3_qflex.studies.recorder import RunRecorder

OFF_POLICY = {key: SMALL[key] for key in ("learning_starts", "batch_size", "buffer_size", "seed", "device")}


@pytest.mark.parametrize(
    ("algorithm", "kwargs", "steps", "updates"),
    [
        (QFlex, SMALL, 60, (60 - 20) // 2),
        (SAC, {**OFF_POLICY, "gradient_steps": 1}, 60, (60 - 20) // 2),
        # Two rollouts of 32 vector steps, ten epochs each.
        (PPO, {"n_steps": 16, "batch_size": 32, "seed": 0, "device": "cpu"}, 64, 20),
    ],
)
def test_measured(algorithm: type, kwargs: dict, steps: int, updates: int, tmp_path: Path) -> None:
    methods = dict(vars(algorithm))
    vec_env = VecNormalize(make_vec_env("Pendulum-v1", 2, seed=0))
    model = algorithm("MlpPolicy", vec_env, policy_kwargs={"net_arch": [8]}, **kwargs)
    evaluated = VecNormalize(make_vec_env("Pendulum-v1", 1), training=False)
    evaluation = EvalCallback(evaluated, n_eval_episodes=1, eval_freq=16, log_path=str(tmp_path), verbose=0)
    model.learn(60, callback=[RunRecorder(str(tmp_path)), Saving(tmp_path), evaluation])
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert (measured["steps"], measured["environments"], measured["updates"]) == (steps, 2, updates)
    split = measured["time split"]
    assert split.keys() == {"environment", "acting", "buffer", "update", "evaluation", "other"}
    assert sum(split.values()) == pytest.approx(measured["training seconds"])
    assert min(split.values()) > 0
    # The recorder knows of evaluations what the callback that makes them stores.
    assert [note["steps"] for note in measured["evaluations"]] == list(range(32, steps + 1, 32))
    # Nothing of the measuring is left on the class or went into a file.
    assert dict(vars(algorithm)) == methods
    assert algorithm.load(tmp_path / "saved.zip").num_timesteps == 40
    assert VecNormalize.load(str(tmp_path / "saved.pkl"), vec_env.venv).obs_rms.count > 0


class Saving(BaseCallback):
    """Saves the model in the middle of training, while it is measured."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def _on_step(self) -> bool:
        if self.num_timesteps == 40:
            self.model.save(self.folder / "saved.zip")
            self.model.get_vec_normalize_env().save(str(self.folder / "saved.pkl"))
        return True


def test_stopwatch_puts_methods_back() -> None:
    class Owner:
        def method(self) -> int:
            return 1

    owner, original = Owner(), Owner.method
    stopwatch = Stopwatch(clock=iter(range(10)).__next__)  # type: ignore[arg-type]
    stopwatch.watch("a", Owner, "method")
    stopwatch.watch("b", owner, "method")
    assert owner.method() == 1
    # The clock is read twice for each, the outer one around the inner one.
    assert stopwatch.seconds == {"a": 1, "b": 3}
    stopwatch.release()
    assert Owner.method is original and "method" not in vars(owner)
