"""``sb3-qflex``: from its words to a command, exit codes, and a help that loads nothing heavy."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sb3_qflex
from sb3_qflex.cli import main as command
from sb3_qflex.cli.table import COMMANDS, GROUPS, Family

HEAVY = {"torch", "stable_baselines3", "sb3_contrib", "rl_zoo3", "pandas", "matplotlib", "numpy", "gymnasium", "mujoco"}


def all_commands() -> Iterator[list[str]]:
    for name, one in COMMANDS.items():
        yield [name]
        if isinstance(one, Family):
            yield from ([name, member] for member in one.members)


def process(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(sb3_qflex.__file__).parents[1])}
    words = (sys.executable, *words)
    return subprocess.run(words, capture_output=True, text=True, env=environment)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for title, group in GROUPS.items():
        start = lines.index(f"{title}:") + 1
        shown = [line.split()[0] for line in lines[start : start + len(group)]]
        assert shown == list(group)


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_each_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = command.main([*words, "--help"])
    except SystemExit as end:
        code = end.code
    assert code == 0
    assert capsys.readouterr().out.startswith(f"usage: sb3-qflex {' '.join(words)} ")


def test_help_loads_nothing_heavy() -> None:
    # One process for all of them: what any of them loads stays loaded.
    code = (
        "import contextlib, io, json, sys\n"
        "from sb3_qflex.cli.main import main\n"
        "found = {}\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main([*words, '--help'])\n"
        "    found[' '.join(words)] = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "print(json.dumps(found))"
    )
    done = process("-c", code, json.dumps([[], *all_commands()]))
    assert done.returncode == 0, done.stderr
    loaded = {words: HEAVY & set(modules) for words, modules in json.loads(done.stdout).items()}
    assert not {words: modules for words, modules in loaded.items() if modules}


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("trian",), "Unknown command 'trian'. Did you mean 'train'?"),
        (("plot-train",), "Did you mean 'plot_train'?"),
        (("push_to_hub",), "Did you mean 'push-to-hub'?"),
        (("sped",), "Known: train, "),
        (("study", "reprot"), "Did you mean 'report'? Known: run, report."),
        (("analyse", "superority"), "Did you mean 'superiority'?"),
        (("envs", "lst"), "Did you mean 'list'?"),
    ],
)
def test_an_unknown_command_names_the_near_one(
    words: tuple[str, ...], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert near in refusal(capsys, *words)


@pytest.mark.parametrize("words", [(), ("study",), ("analyse",), ("envs",)])
def test_a_command_that_is_left_out_is_asked_for(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"`{' '.join(('sb3-qflex', *words))} --help`" in refusal(capsys, *words)


def test_vec_env_of_train_is_checked_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "got 'wroker'" in refusal(capsys, "train", "--algo", "qflex", "--vec-env", "wroker")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--env", "Pendulm-v1"), r"^sb3-qflex train: Pendulm-v1 not found .* Pendulum-v1\?$"),
        (("train", "--env", "Pendulum-v1", "-params", "guidance_steps:0"), "^sb3-qflex train: guidance_steps must be"),
        (
            ("enjoy", "--env", "Pendulum-v1", "-f", "nowhere"),
            "^sb3-qflex enjoy: The nowhere/qflex folder was not",
        ),
    ],
)
def test_what_training_and_enjoying_refuse_is_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit, match=message):
        command.main([*words, "--algo", "qflex"])


def test_what_fails_elsewhere_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, *args: object, **kwargs: object) -> None:
        raise ValueError("a fault in an environment")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr("gymnasium.envs.classic_control.PendulumEnv.reset", broken)
    with pytest.raises(ValueError, match="a fault in an environment"):
        command.main(["train", "--algo", "qflex", "--env", "Pendulum-v1"])


def test_exit_codes_of_a_process(tmp_path: Path) -> None:
    module = ("-m", "sb3_qflex")
    codes = {
        ("--version",): 0,
        ("curve",): 2,
        ("curve", str(tmp_path)): 1,
    }
    for words, code in codes.items():
        done = process(*module, *words)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_a_broken_pipe_of_the_command_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def worker_is_gone(*_: object) -> int:
        raise BrokenPipeError("a worker")

    monkeypatch.setattr(command, "_run", worker_is_gone)
    with pytest.raises(BrokenPipeError, match="a worker"):
        command.main(["doctor"])


@pytest.mark.parametrize("words", [["--version"], ["envs", "list"]])
def test_a_reader_that_leaves_is_no_error(words: list[str]) -> None:
    command_line = [sys.executable, "-m", "sb3_qflex", *words]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
