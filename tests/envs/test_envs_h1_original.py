"""H1's rewards and ends against HumanoidBench's own code, where it is installed, on the same simulation."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.envs_assets import make, needs

pytest.importorskip("mujoco")
locomotion = pytest.importorskip(
    "humanoid_bench.envs.basic_locomotion_envs", reason="HumanoidBench is not installed (it is not on PyPI)"
)
balance = pytest.importorskip("humanoid_bench.envs.balance")
robots = pytest.importorskip("humanoid_bench.robots")

N_STATES = 200


class _ByName:
    """Arrays of a simulation by name, as HumanoidBench's tasks look them up."""

    def __init__(self, names, array):
        self.array, self.axes = array, SimpleNamespace(row=SimpleNamespace(names=names))

    def __getitem__(self, key):
        name, *column = key if isinstance(key, tuple) else (key,)
        row = self.array(name)
        return row[{"z": 2, "zz": 8}[column[0]]] if column else row


def original(task_class, env):
    """The original's task on our environment's simulation."""
    model, data = env.model, env.data
    named = SimpleNamespace(
        xmat=_ByName([], lambda name: data.body(name).xmat),
        site_xpos=_ByName([], lambda name: data.site(name).xpos),
        sensordata=_ByName([], lambda name: data.sensor(name).data),
        geom_xpos=_ByName([model.geom(i).name for i in range(model.ngeom)], lambda name: data.geom(name).xpos),
    )
    simulation = SimpleNamespace(data=data, model=model, named=SimpleNamespace(data=named), render_mode=None)
    return task_class(robots.H1(simulation), simulation)


@pytest.mark.parametrize(
    ("env_id", "task"),
    [
        pytest.param("H1Run-v0", locomotion.Run, marks=needs("H1Run-v0")),
        pytest.param("H1BalanceSimple-v0", balance.BalanceSimple, marks=needs("H1BalanceSimple-v0")),
    ],
)
def test_reward_and_end_are_the_originals(env_id, task):
    env = make(env_id)
    theirs = original(task, env)
    env.action_space.seed(0)
    env.reset(seed=0)
    ends = 0
    for _ in range(N_STATES):
        _, reward, terminated, _, _ = env.step(env.action_space.sample())
        assert reward == pytest.approx(theirs.get_reward()[0], abs=1e-12)
        assert terminated == theirs.get_terminated()[0]
        np.testing.assert_array_equal(env._observe(), theirs.get_obs().astype(np.float32))
        if terminated:
            ends += 1
            env.reset()
    assert ends > 0, "no episode ended, so that the ends were not compared"
