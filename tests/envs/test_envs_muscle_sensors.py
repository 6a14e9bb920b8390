"""Muscle lengths and forces in infos, on small models and on the bodies that have muscles."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers.small_models import BoxEnv

import sb3_qflex.envs  # noqa: F401 registers the ids
from sb3_qflex.envs import MuscleSensors

mujoco = pytest.importorskip("mujoco", reason="MuJoCo is not installed")

ARM = """
<mujoco>
  <worldbody>
    <site name="fixed" pos="0 0 0.3"/>
    <body><joint name="hinge" axis="0 1 0"/><geom size="0.02" pos="0.2 0 0"/><site name="moved" pos="0.15 0 0"/></body>
  </worldbody>
  <tendon><spatial name="tendon"><site site="fixed"/><site site="moved"/></spatial></tendon>
  <actuator>{}</actuator>
</mujoco>
"""
MUSCLE = '<muscle name="flexor" tendon="tendon" ctrlrange="0 1" lengthrange="0.15 0.45"/>'
CABLE = '<motor name="cable" tendon="tendon"/>'
MOTOR = '<motor name="torque" joint="hinge"/>'


class Arm(gym.Env):
    """One joint on MuJoCo."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def __init__(self, actuators: str = MUSCLE) -> None:
        self.model = mujoco.MjModel.from_xml_string(ARM.format(actuators))
        self.data = mujoco.MjData(self.model)
        self.action_space = spaces.Box(0.0, 1.0, (self.model.nu,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return self.data.qpos.astype(np.float32), {"own": 1}

    def step(self, action: np.ndarray) -> Any:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, nstep=10)
        return self.data.qpos.astype(np.float32), 0.0, False, False, {"own": 2}


@pytest.mark.parametrize("actuators", [MUSCLE, CABLE, MUSCLE + MOTOR])
def test_sensors_are_in_every_info_and_stay_as_they_were(actuators: str) -> None:
    env = MuscleSensors(Arm(actuators))
    _, first = env.reset(seed=0)
    # sqrt(0.3^2 + 0.15^2) from the fixed site to the one on the arm.
    assert first["actuator_length"][0] == pytest.approx(0.335410, abs=1e-6)
    assert first["own"] == 1
    *_, second = env.step(np.ones(env.action_space.shape, np.float32))
    assert second["own"] == 2 and second["actuator_length"].dtype == np.float64
    np.testing.assert_array_equal(second["actuator_length"], env.unwrapped.data.actuator_length)
    np.testing.assert_array_equal(second["actuator_force"], env.unwrapped.data.actuator_force)
    env.step(np.zeros(env.action_space.shape, np.float32))
    assert first["actuator_length"][0] == pytest.approx(0.335410, abs=1e-6)
    assert (second["actuator_length"] != env.unwrapped.data.actuator_length).all()


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs muscles.*none of the 1 actuators.*algorithm without DEP"):
        MuscleSensors(Arm(MOTOR))
    with pytest.raises(ValueError, match="needs an environment on a MuJoCo model"):
        MuscleSensors(BoxEnv())
    with pytest.raises(ValueError, match="needs an environment on a MuJoCo model"):
        MuscleSensors(gym.make("PlanarChain-v0"))


def test_it_is_rebuilt_from_its_spec() -> None:
    gym.register("Arm-v0", Arm) if "Arm-v0" not in gym.registry else None
    again = gym.make(pickle.loads(pickle.dumps(MuscleSensors(gym.make("Arm-v0")).spec)))
    assert "actuator_length" in again.reset(seed=0)[1]


@pytest.mark.parametrize("env_id", ["myoElbowPose1D6MRandom-v0", "MyoHandPenTwirl-v0", "MyoLegWalkSigmoid-v0"])
@pytest.mark.filterwarnings("ignore")
def test_every_muscle_of_myosuite_is_an_action(env_id: str) -> None:
    pytest.importorskip("myosuite", reason="MyoSuite is not installed")
    env = MuscleSensors(gym.make(env_id))
    _, info = env.reset(seed=0)
    assert info["actuator_length"].shape == env.action_space.shape
    assert (info["actuator_length"] > 0.0).all()
    action = np.ones(env.action_space.shape, np.float32)
    *_, info = env.step(action)
    assert (info["actuator_force"] < 0.0).any()
    env.close()
