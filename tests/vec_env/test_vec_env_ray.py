"""The same workers as Ray actors on a cluster of two nodes."""

import multiprocessing as mp
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from helpers.places import ROOT, TESTS
from helpers.vec_env_samples import failing_envs, sample_envs
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_qflex.vec_env import WorkerDiedError, WorkerVecEnv

ray = pytest.importorskip("ray", reason="needs the extra 'ray': pip install sb3-qflex[ray]")
from ray.cluster_utils import Cluster  # noqa: E402

ACTIONS = np.full((4, 2), 0.5, np.float32)
# Workers import the tests' environments from here.
RUNTIME = {"runtime_env": {"env_vars": {"PYTHONPATH": f"{TESTS}:{ROOT}"}}}


@contextmanager
def one_node() -> Iterator[Cluster]:
    # A node counts as lost after about two seconds without a sign of life, rather than half a minute.
    config = {"health_check_period_ms": 500, "health_check_timeout_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": config})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def make(env_fns: Any, **kwargs: Any) -> WorkerVecEnv:
    return WorkerVecEnv(env_fns, backend="ray", ray_options=RUNTIME, **kwargs)


def test_ray_workers() -> None:
    """
    One test for all: starting a cluster takes long. In a process of its own: what is forked from one that has used Ray,
    as workers of other tests are, may die (of SIGSEGV with Ray 2.60 on Python 3.13).
    """
    with ProcessPoolExecutor(1, mp.get_context("spawn")) as pool:
        pool.submit(use_cluster).result()


def use_cluster() -> None:
    with one_node() as cluster:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        same_trajectories_as_dummy_vec_env()
        infos_that_stay_with_the_actors()
        an_environment_that_raises()
        a_node_that_is_lost(cluster, second)


def same_trajectories_as_dummy_vec_env() -> None:
    theirs, ours = DummyVecEnv(sample_envs(4)), make(sample_envs(4), infos=["steps"])
    # One worker for each core of the cluster, spread over its nodes.
    assert len(set(ours.env_method("pid"))) == 2
    for env in (ours, theirs):
        env.seed(3)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    for _ in range(20):
        our, their = ours.step(ACTIONS), theirs.step(ACTIONS)
        for one, other in zip(our[:3], their[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        for our_info, their_info in zip(our[3], their[3], strict=True):
            assert our_info["is_success"] == their_info["solved"] and our_info["steps"] == 3
            assert ("terminal_observation" in our_info) == ("terminal_observation" in their_info)
        assert ours.reset_infos == theirs.reset_infos
    ours.close()


def infos_that_stay_with_the_actors() -> None:
    env = make(sample_envs(4))
    env.reset()
    with env.essential_infos():
        first, second = env.step(ACTIONS)[3], env.step(ACTIONS)[3]
        with pytest.raises(KeyError, match="'steps' was not sent"):
            first[3].get("steps")
        assert [info["steps"] for info in second] == [3] * 4
    env.close()


def an_environment_that_raises() -> None:
    env = make(failing_envs(4, at=3, how="raise"))
    env.reset()
    with pytest.raises(AssertionError, match="joint angle is NaN") as caught:
        for _ in range(3):
            env.step(ACTIONS)
    assert "environment 3, in Ray worker 1" in caught.value.__notes__[0]
    # An answer that cannot be pickled leaves the worker alive.
    with pytest.raises(TypeError, match="pickle"):
        env.get_attr("lock", 0)
    assert env.get_attr("level") == [0] * 4
    env.close()


def a_node_that_is_lost(cluster: Cluster, node: Any) -> None:
    env = make(sample_envs(4))
    env.reset()
    cluster.remove_node(node, allow_graceful=False)
    deadline = time.monotonic() + 60
    with pytest.raises(WorkerDiedError, match=r"Ray worker \d \(environments .* is gone"):
        # Ray needs a moment to notice.
        while time.monotonic() < deadline:
            env.step(ACTIONS)
            time.sleep(0.1)
    with pytest.raises(RuntimeError, match="is closed: Ray worker"):
        env.step(ACTIONS)
