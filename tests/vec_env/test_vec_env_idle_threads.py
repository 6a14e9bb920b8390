"""Threads of this process do not keep cores busy that workers need."""

from collections.abc import Iterator

import psutil
import pytest
import torch as th
from helpers.vec_env_samples import sample_envs

from sb3_qflex.vec_env import WorkerVecEnv

# Large enough for torch to share it out among threads.
LARGE = th.arange(400.0 * 400.0).reshape(400, 400)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = th.get_num_threads()
    th.set_num_threads(2)
    yield
    th.set_num_threads(before)


def n_threads() -> int:
    return psutil.Process().num_threads()


def test_a_step_ends_the_threads_that_look_out_for_work(two_threads: None) -> None:
    env = WorkerVecEnv(sample_envs(2), n_workers=2, start_method="fork")
    try:
        env.reset()
        actions = env.action_space.sample()[None].repeat(2, axis=0)
        # Also those of earlier tests.
        env.step(actions)
        before = n_threads()
        expected = LARGE + 1.0
        if n_threads() == before:
            pytest.skip("torch's build has no OpenMP")
        env.step(actions)
        assert n_threads() == before
        assert th.equal(LARGE + 1.0, expected)
        assert n_threads() > before
    finally:
        env.close()
