"""Train several algorithms side by side through RL Zoo: same task, budget, seeds; one PNG and one table."""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from huggingface_sb3 import EnvironmentName
from stable_baselines3.common.monitor import LoadMonitorResultsError, load_results
from tqdm import tqdm

from sb3_qflex.common.outputs import free_stem
from sb3_qflex.zoo.curves import WINDOW, Run, draw, load_run

SIDE_BY_SIDE = 2
EVALUATIONS = 10


class TrainingError(RuntimeError):
    """A training process ended with an error."""


@dataclass(frozen=True)
class Job:
    """One training run: algorithm and seed, its command line, and the file for what it prints."""

    algo: str
    seed: int
    command: list[str]
    log: Path


@dataclass(frozen=True)
class Result:
    """A finished run: RL Zoo's folder of it, and the wall-clock time of the whole process."""

    job: Job
    folder: Path
    seconds: float


def compare(args: argparse.Namespace) -> None:
    """Train, print the table and write both files; a TrainingError if one of the runs fails."""
    results = [result for seed in args.seed for result in run_side_by_side(jobs_of_seed(args, seed), args.steps)]
    runs = [load_run(result.folder, label=result.job.algo) for result in results]
    stem = free_stem(Path(args.log_folder), f"compare_{EnvironmentName(args.env)}")
    table = pd.DataFrame([summary(result, run) for result, run in zip(results, runs, strict=True)])
    print(table.to_string(index=False))
    picture = draw(runs, f"{args.env}, {args.steps} steps, {args.regime} regime", stem.with_suffix(".png"))
    table.to_csv(stem.with_suffix(".csv"), index=False)
    print(f"Learning curves: {picture}\nTable: {stem.with_suffix('.csv')}")


def jobs_of_seed(args: argparse.Namespace, seed: int) -> list[Job]:
    """One job per algorithm."""
    logs = Path(args.log_folder)
    logs.mkdir(parents=True, exist_ok=True)
    log_of = {algo: free_stem(logs, f"{algo}_{EnvironmentName(args.env)}").with_suffix(".log") for algo in args.algos}
    return [Job(algo, seed, train_command(args, algo, seed), log) for algo, log in log_of.items()]


def train_command(args: argparse.Namespace, algo: str, seed: int) -> list[str]:
    """The command line of one run, from the arguments of ``sb3-qflex compare``."""
    task = {"--algo": algo, "--env": args.env, "-n": args.steps, "--seed": seed}
    files = {"-f": args.log_folder, "-conf": args.conf[algo]}
    every = max(args.steps // EVALUATIONS, 1)
    evaluations = {"--eval-freq": every, "--eval-episodes": args.eval_episodes}
    return zoo_train_command({**task, **files, **evaluations, "--num-threads": 1, "--log-interval": 100})


def zoo_train_command(options: Mapping[str, object]) -> list[str]:
    """A command line of RL Zoo's train command with these options and values."""
    return [sys.executable, "-m", "sb3_qflex", "train", *(str(word) for pair in options.items() for word in pair)]


def one_thread_environment() -> dict[str, str]:
    """For a training process with one thread: two processes of several threads each would contend for the cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


def run_side_by_side(jobs: Sequence[Job], steps: int) -> Iterator[Result]:
    """Results in the order of the jobs, no two of one algorithm, since RL Zoo numbers run folders by algorithm."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield from pool.map(partial(_run, steps=steps), jobs, range(len(jobs)))


def _run(job: Job, position: int, steps: int) -> Result:
    start = time.perf_counter()
    with (
        job.log.open("w") as log,
        subprocess.Popen(job.command, stdout=log, stderr=subprocess.STDOUT, env=one_thread_environment()) as process,
        tqdm(total=steps, desc=f"{job.algo} seed {job.seed}", position=position, unit="step") as bar,
    ):
        _follow(process, job, bar)
    if process.returncode:
        raise TrainingError(failure(job.command, process.returncode, job.log))
    folder = _run_folder(job)
    assert folder is not None, f"RL Zoo printed no log path in {job.log}"
    return Result(job, folder, time.perf_counter() - start)


def failure(command: Sequence[str], code: int, log: Path) -> str:
    """What to tell of a command that failed, with the end of what it printed."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    return f"{' '.join(command)} ended with code {code}; see {log}:\n{tail}"


def _follow(process: subprocess.Popen, job: Job, bar: tqdm) -> None:
    """Move the bar to the number of steps in the monitor files until the process ends."""
    while True:
        try:
            process.wait(timeout=5)
            return
        except subprocess.TimeoutExpired:
            folder = _run_folder(job)
            if folder is not None:
                bar.update(_steps_done(folder) - bar.n)


def _run_folder(job: Job) -> Path | None:
    match = re.search(r"^Log path: (.+)$", job.log.read_text(), re.MULTILINE)
    return Path(match.group(1)) if match else None


def _steps_done(folder: Path) -> int:
    try:
        return int(load_results(str(folder))["l"].sum())
    except (LoadMonitorResultsError, pd.errors.ParserError, pd.errors.EmptyDataError):
        return 0  # not there yet, or a line half written


def summary(result: Result, run: Run) -> dict[str, object]:
    """A row of the table; returns are NaN where no episode ended."""
    last_evaluation = run.eval_returns[-1] if len(run.eval_steps) else np.array([np.nan])
    return {
        "algorithm": result.job.algo,
        "seed": result.job.seed,
        "steps": int(run.steps[-1]) if len(run.steps) else 0,
        f"training return (last {WINDOW} episodes)": _mean(run.returns[-WINDOW:]),
        "evaluation mean": _mean(last_evaluation),
        "evaluation std": round(float(np.std(last_evaluation)), 1),
        "evaluation episodes": last_evaluation.size if len(run.eval_steps) else 0,
        "wall-clock [s]": round(result.seconds),
        "folder": str(result.folder),
    }


def _mean(values: np.ndarray) -> float:
    return round(float(np.mean(values)), 1) if len(values) else float("nan")
