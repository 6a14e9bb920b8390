"""The queue of runs, killed and started again."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.places import ROOT
from helpers.study_runs import STUDY, fake_plan, starts
from stable_baselines3.common.monitor import load_results

from sb3_qflex.studies.definition import StudyError, load_study
from sb3_qflex.studies.extraction import EVALUATIONS, extract
from sb3_qflex.studies.plan import plan_runs
from sb3_qflex.studies.results import csv_rows
from sb3_qflex.studies.run_folder import CHECKPOINTS, RunFolder
from sb3_qflex.studies.runner import Runner, describe, locked, seconds_left, seconds_taken


def folders(root: Path, *plans: object) -> list[RunFolder]:
    return [RunFolder(plan, root) for plan in plans]  # type: ignore[arg-type]


def run_all(runs: list[RunFolder], jobs: int = 1) -> Runner:
    runner = Runner(runs, jobs)
    runner.run()
    return runner


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def begun_process(run: RunFolder) -> psutil.Process | None:
    """The training process, once it is there and waits."""
    if run.steps_done() == 0:
        return None
    found = [one for one in psutil.process_iter(["cmdline"]) if str(run.path) in (one.info["cmdline"] or [])]
    return found[0] if found else None


def start_and_kill(runs: list[RunFolder], number: signal.Signals) -> psutil.Process:
    """Start a runner in a process, kill it during its second run, and return that run's process."""
    (runs[1].root / "hold-seed1").touch()
    process = multiprocessing.get_context("fork").Process(target=run_all, args=(runs,), daemon=True)
    process.start()
    wait_for(lambda: begun_process(runs[1]) is not None)
    training = begun_process(runs[1])
    assert training is not None and process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    return training


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_runner_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    runs = folders(tmp_path, *(fake_plan(seed) for seed in range(3)))
    training = start_and_kill(runs, number)
    # The training process does not outlive its runner.
    wait_for(lambda: not training.is_running() or training.status() == psutil.STATUS_ZOMBIE)
    assert [run.done() is not None for run in runs] == [True, False, False]
    first = (runs[0].path / "done.json").read_bytes()

    (tmp_path / "hold-seed1").unlink()
    assert run_all(runs, jobs=2).failures == {}
    assert (runs[0].path / "done.json").read_bytes() == first
    assert [starts(tmp_path, run.plan) for run in runs] == [1, 2, 1]
    records = [run.done() for run in runs]
    assert [len(record["begun"]) for record in records if record] == [1, 2, 1]
    forms = {json.dumps(sorted(record)) for record in records if record}
    assert len(forms) == 1
    # Nothing half written, no second attempt beside the first.
    names = [sorted(path.name for path in run.path.iterdir()) for run in runs]
    assert names[0] == names[1] == names[2]
    assert [path.name for path in (runs[1].path / "zoo/qflex").iterdir()] == ["PlanarChain-v0_1"]


def test_record_of_a_run(tmp_path: Path) -> None:
    (run,) = folders(tmp_path, fake_plan())
    run_all([run], jobs=2)
    record = run.done()
    assert record is not None
    assert record["settings"] == run.plan.settings()
    assert (record["steps"], record["updates"], record["zoo folder"]) == (100, 7, "zoo/qflex/PlanarChain-v0_1")
    assert record["runner"] == {"jobs": 2, "queue": "local"}
    assert {"processor", "cores", "memory", "system"} <= record["machine"].keys()
    assert record["versions"].keys() >= {"Python", "torch", "sb3-qflex"}
    assert "git" in record and record["command"].startswith(run.plan.command(run.path)[0])
    assert not (run.path / record["zoo folder"] / "best_model.zip").exists()


def test_failed_runs_do_not_stop_the_others(tmp_path: Path) -> None:
    runs = folders(tmp_path, fake_plan(0, fails=True), fake_plan(1, steps=98), fake_plan(2))
    failures = run_all(runs, jobs=3).failures
    assert failures.keys() == {"chain/qflex/seed0", "chain/qflex/seed1"}
    assert "ended with code 1" in failures["chain/qflex/seed0"] and "the reason" in failures["chain/qflex/seed0"]
    # RL Zoo returns 0 when it is interrupted.
    assert "training stopped before 100 steps" in failures["chain/qflex/seed1"]
    assert [run.done() is not None for run in runs] == [False, False, True]


def test_runs_with_other_settings_are_not_taken_for_these(tmp_path: Path) -> None:
    run_all(folders(tmp_path, fake_plan(0)))
    with pytest.raises(StudyError, match=r"holds a run with other settings .*budget: 100 there, 200 now.*--out"):
        Runner(folders(tmp_path, fake_plan(0, budget=200)), 1)


def test_one_runner_in_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StudyError, match=f"another runner, process {os.getpid()}, works in"):
        locked(tmp_path).__enter__()
    with locked(tmp_path):
        pass


def test_estimate_of_the_time_left() -> None:
    missing = [(("a", "x"), 100), (("a", "y"), 100), (("b", "x"), 50)]
    assert seconds_left(missing, {}, jobs=2) is None
    # The kind without a speed goes at the mean of the others.
    assert seconds_left(missing * 2, {("a", "x"): 1.0, ("a", "y"): 3.0}, jobs=2) == 100 + 300 + 100
    # One run cannot be shared.
    assert seconds_left(missing[1:2], {("a", "y"): 3.0}, jobs=2) == 300
    assert [describe(seconds) for seconds in (None, 89.0, 3700.0)] == ["?", "1 min", "1 h 02 min"]


@pytest.mark.slow
def test_real_runs_killed_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself with RL Zoo's training: SIGKILL in the second run, then the same command again."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = STUDY.replace("budget: 100", "budget: 1000").replace("n_envs: 2", "n_envs: 2, learning_starts: 100")
    text = text.replace("policy_kwargs: null", "policy_kwargs: 'dict(net_arch=[32])'")
    (tmp_path / "tiny.yml").write_text(text.replace("every: 50", "every: 500"))
    command = [sys.executable, "-m", "sb3_qflex", "study", "run", "tiny.yml", "--jobs", "1", "--checkpoint-every", "1"]
    plans = plan_runs(load_study(str(tmp_path / "tiny.yml")))
    runs = [RunFolder(plan, tmp_path / "runs") for plan in plans]
    with subprocess.Popen([*command, "--out", "runs"], cwd=tmp_path) as runner:
        wait_for(lambda: any((runs[1].path / CHECKPOINTS).glob("steps-*")), seconds=300)
        runner.kill()
    assert [run.done() is not None for run in runs] == [True, False, False, False]
    first = (runs[0].path / "done.json").read_bytes()
    subprocess.run([*command, "--out", "runs"], cwd=tmp_path, check=True)
    assert (runs[0].path / "done.json").read_bytes() == first
    assert [starts(tmp_path / "runs", run.plan) for run in runs] == [1, 2, 1, 1]
    assert not any((run.path / CHECKPOINTS).exists() for run in runs)
    for run in runs:
        record = run.done()
        assert record is not None and record["steps"] == 1000
        assert sum(record["time split"].values()) == pytest.approx(record["training seconds"])
        with np.load(run.path / record["zoo folder"] / "evaluations.npz") as evaluations:
            assert evaluations["timesteps"].tolist() == [500, 1000]
            assert evaluations["successes"].shape == (2, 2)
    # Undisturbed, the killed run gives the same.
    subprocess.run([*command, "--out", "again", "--only", plans[1].name], cwd=tmp_path, check=True)
    same = [RunFolder(plans[1], tmp_path / root) for root in ("runs", "again")]
    data = [csv_rows(extract([run])[EVALUATIONS]) for run in same]
    columns = ("steps", "return mean", "length mean")
    there, here = ([[row[column] for column in columns] for row in rows] for rows in data)
    assert len(there) == 2 and there == here
    there, here = (sorted(load_results(str(next(run.path.glob("zoo/*/*"))))["r"]) for run in same)
    assert len(there) == 1000 // 50 and there == here


def test_a_run_that_went_on_took_what_all_of_its_processes_did() -> None:
    undisturbed = {"seconds": 70.0, "training seconds": 60.0}
    went_on = {"seconds": 10.0, "training seconds": 60.0}
    assert [seconds_taken(record) for record in (undisturbed, went_on)] == [70.0, 60.0]
