"""``TrainingCheckpoint`` in a hyperparameter file of RL Zoo."""

import sys
from pathlib import Path

import pytest
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import CheckpointError, QFlex
from sb3_qflex.cli import main as command

ENTRY = """
default:
  n_timesteps: 60
  policy: MlpPolicy
  n_envs: 2
  learning_starts: 40
  buffer_size: 100
  policy_kwargs: "dict(net_arch=[8])"
  callback:
    - sb3_qflex.TrainingCheckpoint:
        folder: {folder}
        every: 20
"""


def test_callback_entry_of_a_hyperparameter_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    (tmp_path / "conf.yml").write_text(ENTRY.format(folder=tmp_path / "checkpoint"))
    options = ["--algo", "qflex", "--env", "Pendulum-v1", "-conf", "conf.yml", "--eval-freq", "-1", "--device", "cpu"]
    command.main(["train", *options])
    # RL Zoo's Monitor writes a file, and the environments are saved nevertheless.
    resumed = QFlex.resume(tmp_path / "checkpoint", make_vec_env("Pendulum-v1", 2), device="cpu")
    assert resumed.num_timesteps == 60
    assert resumed._last_obs is not None
    with pytest.raises(CheckpointError, match="another training"):
        command.main(["train", *options])
