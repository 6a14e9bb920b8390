"""Every example runs with a tiny budget and leaves the model that it announces."""

import runpy
import sys
from importlib.util import find_spec

import pytest
from helpers.places import EXAMPLES

from sb3_qflex import QFlex

needs_myosuite = pytest.mark.skipif(find_spec("myosuite") is None, reason="MyoSuite is not installed")


@pytest.mark.parametrize(
    "name, options",
    [
        pytest.param(
            "train_myosuite",
            "--steps 12 --n-envs 2 --learning-starts 8 --eval-episodes 1",
            marks=[needs_myosuite, pytest.mark.filterwarnings("ignore")],
        ),
        ("her_dict_observations", "--steps 100"),
        ("resume_training", "--steps 105"),
        ("custom_network", "--steps 105"),
    ],
)
def test_example(name, options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *options.split(), "--output", "model"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert "model in model.zip" in capsys.readouterr().out
    assert QFlex.load("model", device="cpu").num_timesteps >= 12


def test_resume_training_started_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for steps in ("105", "110"):
        monkeypatch.setattr(sys, "argv", ["resume_training", "--steps", steps, "--output", "model"])
        runpy.run_path(str(EXAMPLES / "resume_training.py"), run_name="__main__")
    assert "going on from step 105" in capsys.readouterr().out
    assert QFlex.load("model", device="cpu").num_timesteps == 110


@needs_myosuite
@pytest.mark.filterwarnings("ignore")
def test_pen_targets_tell_of_every_episode(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pen_targets", "--episodes", "3"])
    runpy.run_path(str(EXAMPLES / "pen_targets.py"), run_name="__main__")
    rows = [[float(cell) for cell in line.split("|")[1:]] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sum(episodes for episodes, *_ in rows) == 3
    assert all(0 <= share <= 1 for _, solved, dropped, _ in rows for share in (solved, dropped))
