"""RL Zoo as a clone beside an installed sb3-qflex: its commands work as if sb3-qflex were not there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_qflex.zoo import hyperparameters, startup
from sb3_qflex.zoo.hyperparameters import choose_file, our_folder

REPOSITORY = Path(startup.__file__).parents[2]
TRAIN = """
from stable_baselines3 import PPO

import rl_zoo3.exp_manager
import rl_zoo3.train

# As RL Zoo's page on SBX does it.
rl_zoo3.ALGOS["own"] = PPO
rl_zoo3.train.ALGOS = rl_zoo3.exp_manager.ALGOS = rl_zoo3.ALGOS

if __name__ == "__main__":
    rl_zoo3.train.train()
"""
#: The commands one after the other in one process, since importing takes most of their time.
COMMANDS = """
import json, runpy, sys
for algo, env in json.loads(sys.argv[1]):
    sys.argv = ["train.py", "--algo", algo, "--env", env, "-n", "100", "--seed", "0", "--eval-freq", "-1"]
    runpy.run_path("train.py", run_name="__main__")
"""
START = "import _sb3_qflex_startup; _sb3_qflex_startup.install()"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """RL Zoo as in its repository: ``hyperparams/`` beside the package, ``train.py`` at the top."""
    import rl_zoo3

    root = tmp_path / "rl-baselines3-zoo"
    shutil.copytree(Path(rl_zoo3.__file__).parent, root / "rl_zoo3", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.move(root / "rl_zoo3/hyperparams", root / "hyperparams")
    (root / "train.py").write_text(TRAIN)
    (root / "hyperparams/own.yml").write_text(
        "default: {n_timesteps: 100, policy: MlpPolicy, n_steps: 20, batch_size: 20}"
    )
    return root


def train(checkout: Path, *commands: tuple[str, str]) -> str:
    """Run ``python train.py --algo ALGO --env ENV`` for each command; returns what they print."""
    site = checkout.parent / "site"
    site.mkdir()
    shutil.copy(startup.__file__, site / "_sb3_qflex_startup.py")
    # As the .pth file of an install does; if there is one, too, the second call changes nothing.
    (site / "sitecustomize.py").write_text(START)
    # `python train.py` has the checkout first.
    environment = {**os.environ, "PYTHONPATH": f"{checkout}:{site}:{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    environment.pop("SB3_QFLEX_ZOO", None)
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=checkout,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "could not add itself" not in done.stderr
    return done.stdout


def test_its_commands_read_its_files(checkout: Path) -> None:
    (checkout / "hyperparams/qflex.yml").write_text(
        "Pendulum-v1: {n_timesteps: 100, policy: MlpPolicy, learning_starts: 90, policy_kwargs: 'dict(net_arch=[8])'}"
    )
    stock = ("ppo", "a2c", "dqn", "own")
    out = train(checkout, *((algo, "CartPole-v1") for algo in stock), ("qflex", "Pendulum-v1"))
    for algo in (*stock, "qflex"):
        assert f"Loading hyperparameters from: {checkout}/hyperparams/{algo}.yml" in out
    for algo in stock:
        # The Zoo's file of the run, and none of ours.
        folder = checkout / f"logs/{algo}/CartPole-v1_1"
        assert (folder / "CartPole-v1.zip").is_file() and not (folder / "progress.csv").exists()
    assert (checkout / "logs/qflex/Pendulum-v1_1/progress.csv").is_file()


@pytest.mark.parametrize(
    ("algo", "env_id", "from_ours"),
    [
        ("ppo", "CartPole-v1", False),
        ("own", "CartPole-v1", False),
        ("nobodys", "CartPole-v1", False),
        ("sac", "PlanarChain-v0", True),
        ("sac", "Nothing-v0", False),
        ("qflex", "Nothing-v0", True),
    ],
)
def test_the_zoos_own_rule_finds_its_file(
    algo: str, env_id: str, from_ours: bool, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rl_zoo3

    monkeypatch.setattr(rl_zoo3, "__file__", str(checkout / "rl_zoo3/__init__.py"))
    assert hyperparameters.zoo_folder() == checkout / "hyperparams"
    expected = our_folder() if from_ours else checkout / "hyperparams"
    assert choose_file(algo, env_id)[0] == expected / f"{algo}.yml"
