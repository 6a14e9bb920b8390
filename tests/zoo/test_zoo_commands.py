"""``sb3-qflex`` and the files it leaves, with tiny budgets."""

import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from stable_baselines3.common.monitor import ResultsWriter

import sb3_qflex
from sb3_qflex import QFlex
from sb3_qflex.cli import compare as compare_command
from sb3_qflex.cli import main as command
from sb3_qflex.common.outputs import free_stem
from sb3_qflex.run_report.files import read_run
from sb3_qflex.zoo import compare, curves, hyperparameters
from sb3_qflex.zoo.hyperparameters import our_folder
from sb3_qflex.zoo.progress import ProgressFile

REPOSITORY = Path(sb3_qflex.__file__).parents[1]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Run a command in this process and in an empty folder; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def run_command(*words: object) -> str:
        command.main([str(word) for word in words])
        return capsys.readouterr().out

    yield run_command


def test_train_resume_enjoy_curve(tmp_path: Path, run: Callable[..., str]) -> None:
    options = ("--algo", "qflex", "--env", "Pendulum-v1", "--seed", 1, "--eval-episodes", 1, "-params")
    short = ("policy_kwargs:dict(net_arch=[8])", "buffer_size:500", "learning_starts:150", "train_freq:10")
    out = run("train", *options, *short, "-n", 400, "--eval-freq", 200, "--save-replay-buffer", "--log-interval", 1)
    assert f"Loading hyperparameters from: {our_folder() / 'qflex.yml'}" in out
    folder = tmp_path / "logs/qflex/Pendulum-v1_1"
    assert curves.load_run(folder).eval_steps.tolist() == [200, 400]
    steps, superiority = read_run(folder).values("train/flow_superiority")
    assert len(steps) and ((superiority >= 0.0) & (superiority <= 1.0)).all()

    out = run("train", *options, *short, "-n", 200, "-i", folder / "Pendulum-v1.zip", "--eval-freq", -1)
    assert "Loading pretrained agent" in out and "Loading replay buffer" in out
    assert (tmp_path / "logs/qflex/Pendulum-v1_2/Pendulum-v1.zip").is_file()

    out = run("enjoy", "--algo", "qflex", "--env", "Pendulum-v1", "-f", "logs", "--no-render", "-n", 200)
    assert "1 Episodes" in out

    out = run("curve", folder)
    assert re.findall(r"^(.+?): (.+)$", out, re.MULTILINE) == [
        ("Model", str(folder / "Pendulum-v1.zip")),
        ("Config", str(folder / "Pendulum-v1/config.yml")),
        ("Learning curve", str(folder / "learning_curve.png")),
    ]
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("algo", ["qflex", "crossq"])
def test_optimize_with_many_environments(algo: str, tmp_path: Path, run: Callable[..., str]) -> None:
    conf = tmp_path / "conf.yml"
    conf.write_text("default: {n_timesteps: 100, policy: MlpPolicy, n_envs: 4, learning_starts: 40, buffer_size: 100}")
    search = ("-optimize", "--n-trials", 1, "--eval-episodes", 1, "-n", 80, "-conf", conf)
    out = run("train", "--algo", algo, "--env", "Pendulum-v1", *search)
    assert "Number of finished trials:  1" in out and "gradient_steps:" in out
    assert len(list((tmp_path / "logs" / algo).glob("report_*.csv"))) == 1


def test_compare_trains_in_processes_of_their_own(
    tmp_path: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    # This way needs no start-up file, so an installed one takes no part.
    monkeypatch.setenv("SB3_QFLEX_ZOO", "0")
    entry = "n_timesteps: 100, policy: MlpPolicy, n_envs: 2, learning_starts: 780, policy_kwargs: 'dict(net_arch=[8])'"
    (tmp_path / "small").mkdir()
    (tmp_path / "small/qflex.yml").write_text(f"default: {{{entry}}}")
    monkeypatch.setattr(hyperparameters, "our_folder", lambda: tmp_path)
    monkeypatch.setattr(compare, "EVALUATIONS", 1)
    out = run("compare", "--env", "Pendulum-v1", "--steps", 800, "--eval-episodes", 1, "--algos", "qflex")
    table = (tmp_path / "logs/compare_Pendulum-v1_1.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in table[1:]] == [["qflex", "0", "800"]]
    assert "logs/compare_Pendulum-v1_1.png" in out
    assert (tmp_path / "logs/compare_Pendulum-v1_1.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    job = compare.Job("qflex", 0, failing, tmp_path / "qflex.log")
    with pytest.raises(compare.TrainingError, match=r"ended with code 3; see .*qflex\.log:\nthe reason"):
        list(compare.run_side_by_side([job], steps=10))


def test_compare_refuses_an_algorithm_without_regime(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare_command.parse("compare", ["--env", "Pendulum-v1", "--algos", "td3", "--regime", "small"])
    known = sorted(path.stem for path in our_folder().glob("small/*.yml"))
    assert {"crossq", "ppo", "qflex", "sac", "tqc"} <= set(known)
    assert f"no hyperparameters for 'td3'; it has them for {known}" in capsys.readouterr().err


@pytest.mark.parametrize(("regime", "folder"), [("paper", our_folder()), ("small", our_folder() / "small")])
def test_compare_trains_each_algorithm_on_the_regimes_file(regime: str, folder: Path) -> None:
    args = compare_command.parse(
        "compare", ["--env", "Pendulum-v1", "--algos", "qflex", "qflex", "sac", "--regime", regime]
    )
    assert args.algos == ["qflex", "sac"]
    words = compare.train_command(args, "sac", seed=3)
    assert Path(words[words.index("-conf") + 1]).resolve() == folder / "sac.yml"
    assert words[words.index("--seed") + 1] == "3"


def test_curve_of_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no run folder of RL Zoo"):
        command.main(["curve", str(tmp_path)])


def write_run(folder: Path, returns: list[float]) -> None:
    folder.mkdir()
    writer = ResultsWriter(str(folder / "0.monitor.csv"), header={"t_start": 0.0})
    for number, value in enumerate(returns):
        writer.write_row({"r": value, "l": 10, "t": float(number)})
    writer.close()
    np.savez(folder / "evaluations.npz", timesteps=[50, 100], results=[[0.0, 2.0], [4.0, 8.0]])


def test_run_is_read_as_written(tmp_path: Path) -> None:
    write_run(tmp_path / "A-v0_1", [float(value) for value in range(10)])
    run_ = curves.load_run(tmp_path / "A-v0_1", label="a")
    assert run_.steps.tolist() == [10.0 * (n + 1) for n in range(10)]
    assert run_.returns.tolist() == list(range(10))
    assert run_.eval_returns.mean(axis=1).tolist() == [1.0, 6.0]
    # Ten episodes: a window of two.
    steps, means = curves.running_mean(run_)
    assert steps.tolist() == [20.0 + 10 * n for n in range(9)]
    assert means.tolist() == [0.5 + n for n in range(9)]


@pytest.mark.parametrize(
    ("callback", "arguments", "expected"),
    [
        ({}, {}, [150, 300]),
        # Held until the first rollout of 4 steps at or after step 50, or 72.
        ({"callback": [{"sb3_qflex.RepeatUntil": {"fraction": 0.5}}]}, {"n_timesteps": -1}, [150, 204]),
        ({"callback": {"sb3_qflex.RepeatUntil": {"fraction": 0.5}}}, {"n_timesteps": 144}, [150, 244]),
        # One step in four still stands for three.
        ({"callback": {"a.RepeatUntil": {"fraction": 0.5, "still_held": 0.25}}}, {"n_timesteps": 144}, [150, 258]),
    ],
)
def test_evaluations_stand_at_steps_of_the_task(
    callback: dict, arguments: dict, expected: list[int], tmp_path: Path
) -> None:
    folder = tmp_path / "A-v0_1"
    write_run(folder, [float(value) for value in range(10)])
    (folder / "A-v0").mkdir()
    wrapper = {"sb3_qflex.envs.ActionRepeat": {"repeat": 3}}
    config = {"env_wrapper": ["a.B", wrapper], "n_timesteps": 100.0, "n_envs": 2, "train_freq": 2, **callback}
    for name, values in (("config.yml", config), ("args.yml", arguments)):
        (folder / "A-v0" / name).write_text(yaml.dump(OrderedDict(values)))
    assert curves.load_run(folder).eval_steps.tolist() == expected


def test_rows_of_a_progress_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    for _ in range(2):
        learner = QFlex("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, learning_starts=500, device="cpu")
        learner.learn(400, ProgressFile(path), log_interval=1)
    assert pd.read_csv(path)["time/total_timesteps"].tolist() == [200, 400, 200, 400]


def test_one_line_per_run_and_one_legend_entry_per_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "Figure", lambda **options: figures.append(Figure(**options)) or figures[-1])
    runs = []
    for number, label in enumerate(["qflex", "sac", "qflex"]):
        write_run(tmp_path / f"A-v0_{number}", [float(number)] * 10)
        runs.append(curves.load_run(tmp_path / f"A-v0_{number}", label=label))
    curves.draw(runs, "A", tmp_path / "a.png")
    axes = figures[0].axes[0]
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["qflex", "sac"]
    training = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert [np.unique(line.get_ydata()).tolist() for line in training] == [[0.0], [1.0], [2.0]]
    assert training[0].get_color() == training[2].get_color() != training[1].get_color()


def test_summary_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path / "A-v0_1", [100.0] + [1.0] * 100)
    job = compare.Job("qflex", 4, [], tmp_path / "log")
    row = compare.summary(compare.Result(job, tmp_path / "A-v0_1", 12.3), curves.load_run(tmp_path / "A-v0_1"))
    assert list(row.values())[:-1] == ["qflex", 4, 1010, 1.0, 6.0, 2.0, 2, 12]


def test_numbered_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x_1.png").touch()
    assert free_stem(tmp_path, "x") == tmp_path / "x_2"
