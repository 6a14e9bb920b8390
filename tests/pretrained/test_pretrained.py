"""Trained policies: from a run into a folder, and from there to the same figures; what is refused, and the pages."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, small_model
from helpers.zoo_runs import ENV, ENV_KWARGS, write_run
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlexPolicy
from sb3_qflex.analysis import pretrained as playing
from sb3_qflex.analysis.trained import load as load_trained
from sb3_qflex.cli.main import main
from sb3_qflex.export import load_vec_normalize
from sb3_qflex.gallery import adding, pages, pictures
from sb3_qflex.pretrained import index
from sb3_qflex.pretrained.index import Collection, PretrainedError
from sb3_qflex.sac.policies import SACPolicy

EPISODES, SEED = 3, 50
FIGURES = ("--episodes", str(EPISODES), "--seed", str(SEED))


def add(run: Path, folder: Path, id: str = "chain-3", *more: str) -> None:
    words = ("--cpu-minutes", "1.5", "--command", "make it", "--folder", str(folder), *FIGURES, *more)
    assert main(["pretrained", "add", str(run), "--id", id, *words]) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose policy normalises its observations."""
    return write_run(tmp_path_factory.mktemp("logs"), normalize=True)


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that policy."""
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("policies")
    add(run, path)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(folder, tmp_path / "copied")


# --- From a run to the index ---


def test_entry_says_what_the_run_was(folder: Path, run: Path) -> None:
    (entry,) = Collection(folder).entries.values()
    assert (entry.id, entry.environment, entry.env_kwargs) == ("chain-3", ENV, ENV_KWARGS)
    assert (entry.algorithm, entry.policy_class) == ("QFlex", "sb3_qflex.qflex.policies:QFlexPolicy")
    assert (entry.command, entry.seed, entry.cpu_minutes, entry.storage) == ("make it", 0, 1.5, "float16")
    assert entry.played.episodes == EPISODES and entry.played.seed == SEED and entry.wrappers == []
    assert entry.played.at_any_step is not None and len(entry.played.mean_return) == 3
    for suffix, one in entry.files.items():
        assert (folder / f"chain-3{suffix}").stat().st_size == one["bytes"]
    assert set(entry.files) == set(index.SUFFIXES)


def test_wrappers_of_training_go_and_action_maps_stay(run: Path) -> None:
    trained = load_trained(run)
    trained.task.hyperparams["env_wrapper"] = [
        {"sb3_qflex.envs.ActionRepeat": {"repeat": 2}},
        "sb3_qflex.envs.SuccessAtAnyStep",
        {"sb3_qflex.envs.OverActuated": {"copies": 2}},
    ]
    trained.model.num_timesteps = 100
    request = adding.Request("x", run, command="c", cpu_minutes=1.0)
    entry = adding._entry(request, trained)
    assert entry.wrappers == [{"sb3_qflex.envs.OverActuated": {"copies": 2}}]
    assert entry.steps == 200
    # The repeat ended after 30 steps: those were of two each.
    trained.model.repeat_ended_at = 30
    assert adding._entry(request, trained).steps == 30 * 2 + 70
    env = playing.task_of(entry).make()
    assert env.action_space.shape == (2 * ENV_KWARGS["n_links"],)


def test_what_a_study_measured_and_what_has_to_be_said(run: Path, tmp_path: Path) -> None:
    inside = tmp_path / "seed0" / "zoo" / "qflex" / "run_1"
    shutil.copytree(run, inside)
    with pytest.raises(PretrainedError, match="--cpu-minutes"):
        adding._cpu_minutes(adding.Request("x", inside))
    (tmp_path / "seed0" / "measured.json").write_text(json.dumps({"cpu seconds": 90.0}))
    assert adding._cpu_minutes(adding.Request("x", inside)) == 1.5
    command = inside / ENV / "command.txt"
    arguments = {"stats_folder": command.parent}
    command.write_text("sb3-qflex train --algo qflex")
    assert adding._command_of(arguments) == "sb3-qflex train --algo qflex"
    command.write_text("sb3-qflex train -f /home/me/logs")
    with pytest.raises(PretrainedError, match="--command"):
        adding._command_of(arguments)


def test_a_name_that_is_taken_is_refused_unless_asked_for(copied: Path, run: Path) -> None:
    before = (copied / "index.json").read_text()
    with pytest.raises(SystemExit, match="already"):
        add(run, copied)
    assert (copied / "index.json").read_text() == before
    add(run, copied, "chain-3", "--overwrite", "--report", "results/x.md")
    assert Collection(copied).find("chain-3").report == "results/x.md"
    add(run, copied, "another")
    assert list(Collection(copied).entries) == ["another", "chain-3"]
    with pytest.raises(SystemExit, match="lower-case"):
        add(run, copied, "Not/This")


def test_files_above_the_limit_are_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "MOST_BYTES", 100)
    with pytest.raises(SystemExit, match="more than 100"):
        add(run, tmp_path / "policies")
    assert not (tmp_path / "policies").exists()


# --- From the index to actions ---


def test_the_plain_loop_gives_the_figures_of_the_index(folder: Path) -> None:
    policy = QFlexPolicy.pretrained("chain-3", folder, device="cpu")
    env = gym.make(ENV, **ENV_KWARGS)
    returns = []
    for seed in range(SEED, SEED + EPISODES):
        observation, _ = env.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            action, _ = policy.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    assert np.mean(returns) == pytest.approx(Collection(folder).find("chain-3").played.mean_return[0], rel=1e-6)


def test_its_actions_are_those_of_the_model_behind_its_statistics(folder: Path, run: Path) -> None:
    trained = load_trained(run)
    env = trained.model.get_vec_normalize_env()
    assert env is not None
    policy = QFlexPolicy.pretrained("chain-3", folder, device="cpu")
    raw = np.stack([env.observation_space.sample() for _ in range(8)])
    expected = trained.model.predict(env.normalize_obs(raw), deterministic=True)[0]
    found = policy.predict(raw, deterministic=True)[0]
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert not np.allclose(trained.model.predict(raw, deterministic=True)[0], expected, atol=5e-3)
    session = pytest.importorskip("sb3_qflex.export").onnx_session(folder / "chain-3.onnx")
    (actions,) = session.run(["action"], {"obs": raw})
    np.testing.assert_allclose(actions, found, atol=5e-3)
    with pytest.raises(ValueError, match="write it with export_policy"):
        policy.save(folder.parent / "again.zip")
    # What acts exports itself once more, statistics included.
    again = policy.export_policy(folder.parent / "again", storage="float16")
    wrapped = load_vec_normalize(again, make_vec_env(ENV, env_kwargs=ENV_KWARGS))
    np.testing.assert_array_equal(wrapped.normalize_obs(raw), env.normalize_obs(raw))


def test_evaluate_repeats_the_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrained", "list", "--folder", str(folder / "typo")])
    assert "there is no such folder" in capsys.readouterr().err
    assert main(["pretrained", "list", "--folder", str(folder)]) == 0
    listed = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert main(["evaluate", "--pretrained", "chain-3", "--folder", str(folder)]) == 0
    header, _, row = capsys.readouterr().out.splitlines()
    found = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert found["success at the last step"] == listed[2] and found["return"] == listed[4]
    assert found["episodes"] == listed[5] == str(EPISODES)


def test_watch_and_gallery(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gif = tmp_path / "chain.gif"
    assert main(["watch", "--pretrained", "chain-3", "--folder", str(folder), "--gif", str(gif), "--every", "5"]) == 0
    with Image.open(gif) as opened:
        assert opened.n_frames > 2
    # Its file has no critics, so nothing is said of Q.
    assert "Episode 0: 50 steps, return" in (out := capsys.readouterr().out) and "mean Q" not in out
    with pytest.raises(SystemExit):
        main(["watch"])
    assert "either a model or --pretrained" in capsys.readouterr().err


def test_the_environment_variable_names_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(index.VARIABLE, str(folder))
    assert QFlexPolicy.pretrained("chain-3").action_space.shape == (3,)


def test_a_folder_that_is_not_there_is_not_the_packages(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=f"There is no folder {tmp_path / 'no'} of trained policies"):
        playing.load_pretrained("torso-pose", tmp_path / "no")


def test_statistics_of_rewards_alone_are_none(tmp_path: Path) -> None:
    model = small_model(VecNormalize(make_vec_env(ENV, env_kwargs=ENV_KWARGS), norm_obs=False))
    file = model.policy.export_policy(tmp_path / "policy", model.get_vec_normalize_env())
    assert file.read_bytes() == model.policy.export_policy(tmp_path / "raw").read_bytes()


# --- What is refused ---


def test_unknown_ids_name_the_near_ones(folder: Path) -> None:
    with pytest.raises(PretrainedError, match=r"no trained policy 'chian-3'. Near: chain-3\."):
        QFlexPolicy.pretrained("chian-3", folder)
    with pytest.raises(SystemExit, match="There are: chain-3"):
        main(["evaluate", "--pretrained", "pen", "--folder", str(folder)])


def test_another_content_is_refused(copied: Path) -> None:
    for suffix in index.SUFFIXES:
        file = copied / f"chain-3{suffix}"
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(PretrainedError, match="is not the file that the index describes"):
            Collection(copied).file(Collection(copied).find("chain-3"), suffix)
    with pytest.raises(PretrainedError, match="SHA-256"):
        QFlexPolicy.pretrained("chain-3", copied)


def test_files_can_lie_in_a_folder_without_an_index(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.move(copied / "index.json", home / "index.json")
    monkeypatch.setattr(index, "HOME", home)
    with pytest.raises(FileNotFoundError, match=index.VARIABLE):
        QFlexPolicy.pretrained("chain-3")
    assert QFlexPolicy.pretrained("chain-3", copied).action_space.shape == (3,)


def test_another_class_and_a_missing_package_are_told(copied: Path) -> None:
    with pytest.raises(ValueError, match="is a QFlexPolicy and no SACPolicy"):
        SACPolicy.pretrained("chain-3", copied)
    found = Collection(copied)
    found.add(replace(found.find("chain-3"), id="leg", environment="myoLegWalk-v0", packages=("myosuite_absent",)))
    with pytest.raises(PretrainedError, match=r"needs the package myosuite_absent: pip install"):
        playing.load_pretrained("leg", copied)


def test_a_damaged_index(copied: Path) -> None:
    data = json.loads((copied / "index.json").read_text())
    for changed, message in (
        ({**data, "version": 2}, "newer sb3_qflex"),
        ({"version": 1, "policies": [{}]}, "no index"),
    ):
        (copied / "index.json").write_text(json.dumps(changed))
        with pytest.raises(PretrainedError, match=message):
            Collection(copied)


# --- Pictures and pages ---


def repository(root: Path) -> Path:
    (root / pages.GALLERY).mkdir(parents=True)
    for name in pages.PAGES:
        (root / name).write_text("a\n<!-- pretrained: few -->\nold\n<!-- end -->\nb\n")
    (root / pages.PAGES[-1]).write_text(
        "\n".join(f"<!-- pretrained: {name} -->\n<!-- end -->" for name in ("grid", "table", "trainings"))
    )
    return root


def test_gallery_shows_what_succeeds(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, root = Collection(copied), repository(tmp_path / "repository")
    words = ["pretrained", "gallery", "--folder", str(copied), "--root", str(root)]
    gif = root / pages.GALLERY / "chain-3.gif"
    entry = found.find("chain-3")
    found.add(replace(entry, played=replace(entry.played, at_any_step=(0.0, 0.0, 0.5))))
    assert main(words) == 0 and not gif.exists()
    assert "gif" not in (root / "README.md").read_text()
    found.add(replace(entry, played=replace(entry.played, at_end=(0.9, 0.8, 1.0), at_any_step=(0.9, 0.8, 1.0))))
    # The index says that it succeeds, and the episodes do not.
    with pytest.raises(SystemExit, match="it gets no picture"):
        main(words)
    assert not gif.exists()


def test_a_picture_is_made_of_a_success_within_its_size(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, root = Collection(copied), repository(tmp_path / "repository")
    entry = found.find("chain-3")
    found.add(replace(entry, played=replace(entry.played, at_end=None, at_any_step=None)))
    monkeypatch.setattr("sb3_qflex.watch.episode.SUCCESS", ())
    gif = root / pages.GALLERY / "chain-3.gif"
    words = ["pretrained", "gallery", "--folder", str(copied), "--root", str(root)]
    assert main(words) == 0
    most = int(0.8 * gif.stat().st_size)
    monkeypatch.setattr(pictures, "MOST_BYTES", most)
    assert main(words) == 0
    assert 0 < gif.stat().st_size <= most
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)
    with pytest.raises(SystemExit, match="do not fit into 100 bytes"):
        main(words)
    monkeypatch.setattr(pictures, "MOST_BYTES", most)
    assert main(words) == 0
    assert "![chain-3](docs/gallery/chain-3.gif)" in (root / "README.md").read_text()
    assert "![chain-3](gallery/chain-3.gif)" in (root / "docs/index.md").read_text()
    page = (root / "docs/pretrained.md").read_text()
    assert f"`chain-3` | {ENV} |" in page and "`make it`" in page and "QFlex, seed 0" in page


def test_regions_are_written_and_the_rest_stays(folder: Path, tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    entries = Collection(folder).entries
    assert pages.write_pages(root, entries) == [root / name for name in pages.PAGES]
    assert (root / "README.md").read_text() == "a\n<!-- pretrained: few -->\n<!-- end -->\nb\n"
    assert pages.write_pages(root, entries) == []
    assert pages.write_pages(root, {}) == [root / "docs/pretrained.md"]
    assert "There is none yet." in (root / "docs/pretrained.md").read_text()
    with pytest.raises(PretrainedError, match="name the repository"):
        pages.write_pages(tmp_path, entries)


# --- Storage ---


@pytest.mark.parametrize("exploration", ["flow", "source", "ascent"])
def test_matrices_in_half_the_bytes_act_in_single_precision(exploration: str, tmp_path: Path) -> None:
    model = small_model(BoxEnv(), exploration=exploration)
    file = model.policy.export_policy(tmp_path / "half", storage="float16", acting_only=True)
    whole = model.policy.export_policy(tmp_path / "whole")
    assert file.stat().st_size < whole.stat().st_size
    policy = QFlexPolicy.load(file, device="cpu")
    left_out = {"flow": {"critic"}, "source": {"critic", "field"}, "ascent": {"field"}}[exploration]
    state = policy.state_dict()
    assert {name.partition(".")[0] for name in model.policy.state_dict().keys() - state.keys()} == left_out
    for name, value in state.items():
        given = model.policy.state_dict()[name]
        assert value.dtype == given.dtype
        assert th.equal(value, given.half().float() if given.ndim >= 2 else given), name
    # The stored weights in the model give the very same actions.
    model.policy.load_state_dict(state, strict=False)
    obs = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    found, expected = (one.predict(obs, deterministic=True)[0] for one in (policy, model))
    np.testing.assert_array_equal(found, expected)
    # Once more, from what was loaded.
    assert policy.export_policy(tmp_path / "again", storage="float16").read_bytes() == file.read_bytes()
    with pytest.raises(AttributeError, match="acting_only"):
        _ = getattr(policy, next(iter(left_out))).net


def test_what_storage_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = small_model(BoxEnv())
    with pytest.raises(ValueError, match="storage='float8' is unknown"):
        model.policy.export_policy(tmp_path / "policy", storage="float8")
    with th.no_grad():
        model.policy.actor.net[1].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match="65504"):
        model.policy.export_policy(tmp_path / "policy", storage="float16")
    assert list(tmp_path.iterdir()) == []


def test_onnx_in_half_the_bytes(tmp_path: Path) -> None:
    onnx_file = pytest.importorskip("sb3_qflex.export.onnx_file")
    pytest.importorskip("onnxruntime")
    model = small_model(BoxEnv(), policy_kwargs={"net_arch": [64, 64]})
    files = [onnx_file.export_onnx(model, tmp_path / one, storage=one) for one in ("float32", "float16")]
    assert files[1].stat().st_size < 0.65 * files[0].stat().st_size
    obs = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    exact, half = (onnx_file.onnx_session(file).run(["action"], {"obs": obs})[0] for file in files)
    np.testing.assert_allclose(half, exact, atol=5e-3)
    assert not np.array_equal(half, exact)
