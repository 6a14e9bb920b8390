"""What goes wrong ends in one clear error, with no process and no memory left behind."""

import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers.places import TESTS
from helpers.process_watch import environment_of_children, is_running, segments, wait_until_gone
from helpers.vec_env_samples import BulkyEnv, SampleEnv, failing_envs, sample_envs

from sb3_qflex.vec_env import WorkerDiedError, WorkerError, WorkerVecEnv
from sb3_qflex.vec_env.backend import available_cores, split

ACTIONS = np.zeros((4, 2), np.float32)


def make(env_fns: list[Callable[[], gym.Env]], **kwargs: Any) -> WorkerVecEnv:
    return WorkerVecEnv(env_fns, **({"n_workers": 2, "start_method": "fork"} | kwargs))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    # Whatever tests before these still hold is theirs.
    blocks, processes = segments(), set(mp.active_children())
    yield
    assert wait_until_gone([process.pid for process in set(mp.active_children()) - processes]) == []
    assert segments() <= blocks


def workers_left(env: WorkerVecEnv) -> list[int]:
    return [worker.pid for worker in env._workers if is_running(worker.pid)]  # type: ignore[attr-defined]


def three_steps(env: WorkerVecEnv) -> None:
    env.reset()
    for _ in range(3):
        env.step(ACTIONS)


def note(error: BaseException) -> str:
    (text,) = error.__notes__
    return text


@pytest.mark.parametrize("start_method", mp.get_all_start_methods())
def test_an_environment_that_raises(start_method: str) -> None:
    env = make(failing_envs(4, at=2, how="raise"), start_method=start_method)
    with pytest.raises(AssertionError, match="joint angle is NaN") as caught:
        three_steps(env)
    assert "environment 2, in worker 1" in note(caught.value)
    assert 'raise AssertionError("joint angle is NaN")' in note(caught.value)
    # As with DummyVecEnv the environments are still there, and no answer of the failed step is left over.
    assert env.get_attr("how", 2) == ["raise"]
    env.reset()
    env.step(ACTIONS)
    env.close()


@pytest.mark.parametrize(
    "how, message", [("unpicklable", "UnpicklableError: holds a local"), ("exit", "SystemExit: 3")]
)
def test_an_exception_that_cannot_be_raised_here(how: str, message: str) -> None:
    env = make(failing_envs(4, at=0, how=how))
    with pytest.raises(WorkerError, match=message) as caught:
        three_steps(env)
    assert "environment 0, in worker 0" in note(caught.value) and "in _fail" in note(caught.value)
    env.close()


def test_an_environment_that_cannot_be_reset() -> None:
    env = make(failing_envs(4, at=3, how="reset"))
    with pytest.raises(ValueError, match="cannot reset") as caught:
        env.reset()
    assert "environment 3, in worker 1" in note(caught.value)
    env.close()


def test_an_environment_that_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="bad argument") as caught:
        make(failing_envs(4, at=1, how="construct"))
    assert "environment 1, in worker 0" in note(caught.value)


def test_functions_that_return_one_environment() -> None:
    shared = SampleEnv()
    shared.lock = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="the same environment instance"):
        make([lambda: shared] * 4)


def test_a_worker_that_kills_itself_in_a_step() -> None:
    env = make(failing_envs(4, at=2, how="kill"))
    with pytest.raises(WorkerDiedError, match=r"worker 1 .*environments 2 to 3.* was killed by SIGKILL.*memory"):
        three_steps(env)
    assert workers_left(env) == []
    with pytest.raises(RuntimeError, match=r"is closed: worker 1 .*SIGKILL.*Build a new one"):
        env.step(ACTIONS)
    with pytest.raises(RuntimeError, match="is closed"):
        env.get_attr("level")
    env.close()


@pytest.mark.parametrize("request_name", ["reset", "step", "get_attr"])
def test_a_worker_killed_between_requests(request_name: str) -> None:
    env = make(sample_envs(4))
    env.reset()
    os.kill(env.env_method("pid", indices=3)[0], signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match=r"worker 1 .*SIGKILL"):
        if request_name == "step":
            env.step(ACTIONS)
        elif request_name == "get_attr":
            env.get_attr("level")
        else:
            env.reset()
    assert workers_left(env) == []


def test_close_with_a_dead_worker_and_twice() -> None:
    env = make(sample_envs(4))
    os.kill(env.env_method("pid", indices=0)[0], signal.SIGKILL)
    env.close()
    env.close()
    assert workers_left(env) == []


@pytest.mark.parametrize("infos", ["essential", "all"])
def test_close_during_a_step(infos: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    env = make([lambda: BulkyEnv(log)] * 4, infos=infos)
    env.reset()
    env.step_async(ACTIONS)
    env.close()
    # Ended by themselves, having closed every environment once.
    assert [worker._process.exitcode for worker in env._workers] == [0, 0]  # type: ignore[attr-defined]
    assert log.read_text().split() == ["closed"] * 4


@pytest.mark.parametrize("unnoticed", [False, True])
def test_a_step_interrupted_and_taken_again(unnoticed: bool) -> None:
    env, undisturbed = make(sample_envs(4)), make(sample_envs(4))
    for one in (env, undisturbed):
        one.seed(1)
        one.reset()
        one.step_async(ACTIONS)
    # As when Ctrl-C falls between step_async and the end of step_wait: that step's answer must not become the next's.
    np.testing.assert_array_equal(
        env.step(ACTIONS + 1)[1], [undisturbed.step_wait(), undisturbed.step(ACTIONS + 1)][1][1]
    )
    with pytest.raises(RuntimeError, match="call step_async first"):
        env.step_wait()
    env.close()
    undisturbed.close()


def test_a_dropped_vec_env_ends_its_workers() -> None:
    env, later = make(sample_envs(2)), make(sample_envs(2))
    pids = env.env_method("pid")
    del env
    assert wait_until_gone(pids) == []
    later.close()


PARENT = """
import signal, sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})

if __name__ == "__main__":
    from helpers.vec_env_samples import sample_envs, slow_envs
    from sb3_qflex.vec_env import WorkerVecEnv

    {body}
"""
RUNNING = """env, second = (WorkerVecEnv(sample_envs(4), 2, {start_method!r}) for _ in range(2))
    env.reset()
    print(*set(env.env_method("pid") + second.env_method("pid")), flush=True)
    time.sleep(120)"""
BUILDING = "WorkerVecEnv(slow_envs(800, Path({file!r})), 2, 'fork')"


# A suite that was started in the background ignores Ctrl-C, and its children inherit that.
INTERRUPTED = """import numpy as np
    signal.signal(signal.SIGINT, signal.default_int_handler)
    env = WorkerVecEnv(sample_envs(4), 2, "fork")
    env.reset()
    print("ready", flush=True)
    try:
        while True:
            env.step(np.zeros((4, 2), np.float32))
    except KeyboardInterrupt:
        print(*env.get_attr("level"), env.step(np.zeros((4, 2), np.float32))[0].shape)
        env.close()"""


def start_parent(folder: Path, body: str) -> subprocess.Popen:
    script = folder / "parent.py"
    script.write_text(PARENT.format(folder=str(TESTS), body=body))
    return subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment_of_children(),
        start_new_session=True,
    )


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_workers_end_with_a_killed_parent(start_method: str, tmp_path: Path) -> None:
    with start_parent(tmp_path, RUNNING.format(start_method=start_method)) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 4 and all(map(is_running, pids))
        parent.kill()
    assert wait_until_gone(pids) == []


def test_ctrl_c_leaves_the_environments_usable(tmp_path: Path) -> None:
    with start_parent(tmp_path, INTERRUPTED) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
        time.sleep(0.2)
        # As the terminal does: to every process of the group.
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.read() == "0 0 0 0 (4, 3)\n"
    assert parent.returncode == 0


@pytest.mark.parametrize("name", ["recv_bytes", "send_bytes"])
def test_ctrl_c_in_the_middle_of_a_message_loses_no_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = WorkerVecEnv(sample_envs(4), 2)
    env.reset()
    original = getattr(Connection, name)

    def interrupted(self: Connection, *args: Any) -> Any:
        monkeypatch.setattr(Connection, name, original)
        result = original(self, *args)
        signal.raise_signal(signal.SIGINT)
        return result

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(Connection, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.get_attr("level")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    # With an answer lost, this would wait for ever.
    assert env.get_attr("level") == [0, 0, 0, 0]
    assert env.step(np.zeros((4, 2), np.float32))[0].shape == (4, 3)
    env.close()


def test_building_ends_with_a_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with start_parent(tmp_path, BUILDING.format(file=str(log))) as parent:
        while len(pids := set(map(int, log.read_text().split()))) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    # Building all of them would take two minutes.
    assert wait_until_gone(list(pids)) == []


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"n_workers": 0}, "n_workers: expected a whole number of at least 1 or None, got 0"),
        ({"n_workers": 1.5}, "got 1.5"),
        ({"n_workers": True}, "got True"),
        ({"start_method": "thread"}, "start_method: expected one of .*'spawn'.*got 'thread'"),
        ({"infos": "some"}, "infos: expected 'essential', 'all' or a sequence of names.*got 'some'"),
        ({"infos": [1]}, r"got \[1\]"),
        ({"backend": "threads"}, r"backend: expected one of \('process', 'ray'\), got 'threads'"),
        ({"backend": "ray", "start_method": "fork"}, "start_method is for backend='process', got 'fork'"),
        ({"ray_options": {"num_cpus": 2}}, "ray_options are for backend='ray'"),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorkerVecEnv(sample_envs(2), **kwargs)


def test_environment_functions_are_checked() -> None:
    with pytest.raises(ValueError, match="at least one function"):
        WorkerVecEnv([])
    with pytest.raises(TypeError, match="expected functions that return environments"):
        WorkerVecEnv([SampleEnv()])  # type: ignore[list-item]


def test_more_workers_than_environments() -> None:
    env = make(sample_envs(2), n_workers=5)
    assert len(set(env.env_method("pid"))) == 2
    env.close()


def test_split_is_even_and_complete() -> None:
    assert split(7, 3) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert split(80, 1) == [slice(0, 80)]


def test_available_cores_obeys_the_limits_of_a_container(tmp_path: Path) -> None:
    allowed = len(os.sched_getaffinity(0))
    assert available_cores(tmp_path) == allowed
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == allowed
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert available_cores(tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert available_cores(tmp_path) == allowed
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("40000\n")
    assert available_cores(tmp_path) == 1
