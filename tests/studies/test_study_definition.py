"""Studies as YAML files, and the runs that follow from them."""

from pathlib import Path

import pytest
import yaml
from helpers.study_runs import STUDY, study_file

from sb3_qflex.studies.definition import StudyError, load_study, packaged_studies
from sb3_qflex.studies.plan import plan_runs
from sb3_qflex.zoo.hyperparameters import our_folder


@pytest.mark.parametrize("name", packaged_studies())
def test_packaged_studies_have_hyperparameters_for_every_run(name: str) -> None:
    study = load_study(name)
    runs = plan_runs(study)
    assert len(runs) == len(study.tasks) * sum(len(contender.seeds) for contender in study.contenders)
    assert len({run.name for run in runs}) == len(runs)
    # What is compared in one study has one budget, and evaluations at its end.
    assert {run.budget for run in runs} == {study.budget}


def test_the_studies_that_were_promised() -> None:
    seeds = {
        name: {contender.label: len(contender.seeds) for contender in load_study(name).contenders}
        for name in ("pen", "mshuman700")
    }
    assert seeds == {
        "pen": {
            "qflex": 5,
            "crossq": 5,
            "sac": 5,
            "tqc": 3,
            "ppo": 3,
            "qflex (source only)": 3,
            "qflex (ascent)": 3,
            "crossq (no entropy)": 3,
        },
        "mshuman700": {"qflex": 2, "crossq": 2},
    }
    assert [task.env_kwargs["n_links"] for task in load_study("chain").tasks] == [10, 30, 100, 300, 700]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget: 100", "budgets: 100", r"budgets: unknown key \(did you mean budget\?\); allowed: title, budget"),
        ("title: A tiny study", "", "title: missing"),
        ("budget: 100", "budget: 1.5", "budget: expected a positive integer, got 1.5"),
        ("budget: 100", "budget: true", "budget: expected a positive integer, got True"),
        ("seeds: 2", "seeds: [1, 1]", r"seeds: expected a number of seeds or a list .* got \[1, 1\]"),
        ("every: 50", "every: 500", "evaluation.every: 500 is more than the budget 100"),
        ("episodes: 2", "episodes: 0", "evaluation.episodes: expected a positive integer, got 0"),
        ("    env: PlanarChain-v0\n", "", "tasks.chain.env: missing"),
        ("{n_links: 3}", "3", "tasks.chain.env_kwargs: expected a mapping"),
        ("actions: 3", "threshold: high", "tasks.chain.threshold: expected a number, got 'high'"),
        ("algo: crossq", "alog: crossq", r"algorithms.crossq \(fast\).alog: unknown key \(did you mean algo\?\)"),
        ("crossq (fast)", "QFlex", "algorithms.QFlex: would share its folder with 'qflex'"),
        ("algorithms:\n", "algorithms: 3\nx:\n", "algorithms: expected a mapping|x: unknown key"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in STUDY
    with pytest.raises(StudyError, match=rf"tiny\.yml: .*({message})"):
        study_file(tmp_path, STUDY.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("algo: crossq", "algo: td3", "algorithms.crossq .* has no file for 'td3'; it has .*'qflex'"),
        ("    actions: 3", "    entry: Nothing-v0", "has no entry 'Nothing-v0'"),
        ("env: PlanarChain-v0", "env: Nothing-v0", "has no entry 'Nothing-v0' and no default"),
    ],
)
def test_missing_hyperparameters_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = STUDY.replace(old, new)
    if "and no default" in message:
        text = text.replace("  qflex:\n", "")  # our file for QFlex has a default
    with pytest.raises(StudyError, match=message):
        plan_runs(study_file(tmp_path, text))


def test_unknown_study() -> None:
    with pytest.raises(StudyError, match=r"'pne' is no study: .* one of chain, "):
        load_study("pne")


def test_runs_of_a_study(tmp_path: Path) -> None:
    runs = plan_runs(study_file(tmp_path))
    # The first seed of everything first.
    assert [run.name for run in runs] == [
        "chain/qflex/seed0",
        "chain/crossq_fast/seed0",
        "chain/qflex/seed1",
        "chain/crossq_fast/seed1",
    ]
    entry = yaml.safe_load((our_folder() / "crossq.yml").read_text())["PlanarChain-v0"]
    file = yaml.safe_load(runs[1].hyperparameter_file(tmp_path, 60))["PlanarChain-v0"]
    callbacks = [
        {"sb3_qflex.studies.recorder.RunRecorder": {"folder": str(tmp_path)}},
        {"sb3_qflex.studies.run_checkpoint.RunCheckpoint": {"folder": str(tmp_path), "every": 60}},
    ]
    replaced = {"n_timesteps": 100, "n_envs": 2, "learning_rate": 0.01, "callback": callbacks}
    assert file == {key: value for key, value in entry.items() if key != "policy_kwargs"} | replaced
    words = runs[1].command(tmp_path)
    assert words[1:4] == ["-m", "sb3_qflex", "train"] and words[-2:] == ["--env-kwargs", "n_links:3"]
    assert words[words.index("--seed") + 1] == "0" and words[words.index("--num-threads") + 1] == "1"
    assert words[words.index("-conf") + 1] == str(tmp_path / "hyperparameters.yml")


def test_regimes(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/qflex.yml").write_text("default: {policy: MlpPolicy, gamma: 0.5}")
    text = STUDY.replace("  qflex:\n", "  qflex: {regime: own}\n").replace(
        "{algo: crossq,", "{algo: crossq, regime: zoo,"
    )
    own, zoo, *_ = plan_runs(study_file(tmp_path, text))
    assert own.hyperparameters == {"policy": "MlpPolicy", "gamma": 0.5, "n_envs": 2}
    # RL Zoo has no entry for the chain: its default.
    assert zoo.hyperparameters == {"n_timesteps": 1e6, "policy": "MlpPolicy", "n_envs": 2, "learning_rate": 0.01}


@pytest.mark.parametrize(
    "entry",
    [
        {"env_wrapper": [{"sb3_qflex.envs.ActionRepeat": {"repeat": 2}}]},
        {"callback": [{"sb3_qflex.RepeatUntil": {"fraction": 0.5}}]},
    ],
    ids=str,
)
def test_entries_that_hold_actions_by_themselves_are_refused(entry: dict, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/qflex.yml").write_text(yaml.safe_dump({"default": {"policy": "MlpPolicy", **entry}}))
    study = study_file(tmp_path, STUDY.replace("  qflex:\n", "  qflex: {regime: own}\n"))
    with pytest.raises(StudyError, match=r"tiny: algorithms\.qflex on chain has ActionRepeat .* give action_repeat"):
        plan_runs(study)


def test_commands_name_the_file_of_a_study_of_ones_own(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    assert (study.name, study.argument, load_study("pen").argument) == ("tiny", "tiny.yml", "pen")


def test_an_action_repeat_leaves_the_budget_in_environment_steps(tmp_path: Path) -> None:
    text = STUDY.replace("algo: crossq", "algo: crossq, action_repeat: 3")
    repeated = next(run for run in plan_runs(study_file(tmp_path, text)) if run.algo == "crossq")
    command = repeated.command(tmp_path)
    assert repeated.budget == 100 and repeated.settings()["action_repeat"] == 3
    assert [command[command.index(option) + 1] for option in ("-n", "--eval-freq")] == ["34", "17"]
    (entry,) = yaml.safe_load(repeated.hyperparameter_file(tmp_path, 1)).values()
    assert entry["env_wrapper"][-1] == {"sb3_qflex.envs.ActionRepeat": {"repeat": 3}}
    assert entry["n_timesteps"] == 34
    # Runs that were made before there was such a thing are those of no repeat.
    (plain, *_) = plan_runs(study_file(tmp_path))
    assert "action_repeat" not in plain.settings()
