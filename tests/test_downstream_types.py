"""A downstream project that is checked with ``mypy --strict`` gets our types."""

import subprocess
import sys
from pathlib import Path

import pytest

import sb3_qflex

pytest.importorskip("mypy", reason="mypy (extra dev) is not installed")

DOWNSTREAM = '''
import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex, QFlexPolicy, __version__
from sb3_qflex.envs import OverActuated, PlanarChain, PlanarChainVecEnv, SigmoidExcitation
from sb3_qflex.flow import integrate
from sb3_qflex.vec_env import WorkerVecEnv


class Mine(QFlexPolicy):
    """A policy of a user."""


def train(n_envs: int) -> QFlex:
    env = PlanarChainVecEnv(num_envs=n_envs, n_links=5)
    model = QFlex(Mine, env, flow_steps=5, preconditioner=np.ones(5), policy_kwargs={"net_arch": [16]})
    reveal_type(model.learn(100))
    reveal_type(model.policy)
    reveal_type(integrate)
    return model


def workers(n_envs: int) -> WorkerVecEnv:
    def make() -> gym.Env[np.ndarray, np.ndarray]:
        return OverActuated(PlanarChain(n_links=3), copies=2)

    return WorkerVecEnv([make] * n_envs, n_workers=1, infos=["distance"])


version: str = __version__
loaded: QFlex = QFlex.load("model.zip", flow_steps=5)
QFlex("MlpPolicy", "Pendulum-v1", flow_steps="five")
QFlex("MlpPolicy", "Pendulum-v1", guidance_step_sise=0.1)
SigmoidExcitation(3)
'''


@pytest.mark.slow
def test_strict_downstream_project(tmp_path: Path) -> None:
    file = tmp_path / "downstream.py"
    file.write_text(DOWNSTREAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), str(file)]
    # As from site-packages, where the package is found by its py.typed.
    path = str(Path(sb3_qflex.__file__).parents[1])
    environment = {"MYPYPATH": path} if "site-packages" not in path else {}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    print(done.stdout)
