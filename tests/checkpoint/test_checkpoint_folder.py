"""Faults of disks and mistakes with folders: a clear error, and the checkpoint that was there stays whole."""

import errno
import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from helpers.small_models import BoxEnv, small_model
from stable_baselines3 import SAC

from sb3_qflex import CheckpointError, QFlex, TrainingCheckpoint
from sb3_qflex.checkpoint import saving
from sb3_qflex.checkpoint.layout import CheckpointFolder


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training of 60 steps with a buffer of 50 leaves, at steps 45 and 60."""
    folder = tmp_path_factory.mktemp("left") / "checkpoint"
    small_model(BoxEnv(), buffer_size=50, learning_starts=55).learn(60, TrainingCheckpoint(folder, every=15))
    return folder


@pytest.fixture
def folder(left: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(left, tmp_path / "checkpoint"))


def go_on(folder: Path, steps: int = 10) -> QFlex:
    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    return model.learn(steps, TrainingCheckpoint(folder), reset_num_timesteps=False)


def test_two_generations_and_their_segments_are_kept(folder):
    files = CheckpointFolder(folder)
    assert [files.verified(number).num_timesteps for number in files.numbers()] == [45, 60]
    go_on(folder, 20)
    manifests = [files.verified(number) for number in files.numbers()]
    assert [manifest.num_timesteps for manifest in manifests] == [60, 80]
    # The ring of 50 began anew at row 50. At step 60 it reaches back to row 10, at step 80 to row 30.
    rows = [[(one.first, one.stop) for one in manifest.segments] for manifest in manifests]
    assert rows[0] == [(0, 15), (15, 30), (30, 45), (45, 50), (50, 60)]
    assert rows[1] == [*rows[0][2:], (60, 80)]
    assert len(list(files.segments.iterdir())) == 6
    go_on(folder, 5)
    assert len(list(files.segments.iterdir())) == 5


DAMAGED = ["model.zip", "state.pt", "environments.pkl", "replay.npz", "manifest.json"]


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_checkpoint_is_skipped(name, how, folder, caplog):
    damage(CheckpointFolder(folder).generation(4) / name, how)
    assert QFlex.resume(folder, BoxEnv(), device="cpu").num_timesteps == 45
    assert "the last checkpoint is damaged" in caplog.text and name in caplog.text


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:middle])
    else:
        content[middle] ^= 0xFF
        path.write_bytes(content)


def test_training_goes_on_after_a_damaged_checkpoint(folder):
    damage(CheckpointFolder(folder).generation(4) / "state.pt", "changed")
    go_on(folder)
    assert QFlex.resume(folder, BoxEnv(), device="cpu").num_timesteps == 55


def test_damaged_replay_data_that_both_need(folder):
    damage(CheckpointFolder(folder).segments / "rows-00000002-0000.npz", "changed")
    with pytest.raises(CheckpointError, match=r"no checkpoint that loads.*rows-00000002-0000.npz has changed"):
        QFlex.resume(folder, BoxEnv())


def test_a_checkpoint_of_a_later_format(folder):
    for number in (3, 4):
        path = CheckpointFolder(folder).generation(number) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(CheckpointError, match="format 99 is unknown"):
        QFlex.resume(folder, BoxEnv())


def test_what_a_crash_leaves_is_cleaned_up(folder):
    (folder / ".writing-00000005").mkdir()
    (folder / "segments/rows-00000005-0000.npz").touch()
    go_on(folder)
    assert not list(folder.glob(".writing*"))
    assert CheckpointFolder(folder).verified(5).segments[-1].first == 60


@pytest.fixture
def disk_full():
    """Files may not grow beyond 6 kB: less than a model takes, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def read_only(monkeypatch):
    # Permissions mean nothing to root, who may run this.
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)


def test_disk_full(folder, disk_full):
    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    before = sorted(folder.rglob("*"))
    disk_full()
    with pytest.raises(CheckpointError, match=r"step 70 cannot be written.*File too large.*step 60 is whole"):
        model.learn(10, TrainingCheckpoint(folder), reset_num_timesteps=False)
    assert sorted(folder.rglob("*")) == before
    assert QFlex.resume(folder, BoxEnv(), device="cpu").num_timesteps == 60


@pytest.mark.parametrize("on_error, reached", [("raise", 75), ("log", 90)])
def test_no_room_at_an_interval(on_error, reached, folder, monkeypatch, caplog):
    save, steps = saving.save, []

    def full_once(model, *args):
        steps.append(model.num_timesteps)
        if len(steps) == 1:
            monkeypatch.setattr(saving, "_write_files", lambda *_: write_nothing())
            try:
                return save(model, *args)
            finally:
                monkeypatch.undo()
        return save(model, *args)

    def write_nothing():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    callback = TrainingCheckpoint(folder, every=15, on_error=on_error)
    monkeypatch.setattr("sb3_qflex.checkpoint.callback.save", full_once)
    if on_error == "raise":
        with pytest.raises(CheckpointError, match="No space left on device"):
            model.learn(30, callback, reset_num_timesteps=False)
    else:
        model.learn(30, callback, reset_num_timesteps=False)
        assert "No space left on device" in caplog.text
    assert model.num_timesteps == reached
    expected = 60 if on_error == "raise" else 90
    assert QFlex.resume(folder, BoxEnv(), device="cpu").num_timesteps == expected


def test_read_only_folder(tmp_path, folder, monkeypatch):
    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    read_only(monkeypatch)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(CheckpointError, match=r"cannot be written to .*Read-only file system. Nothing was trained"):
            model.learn(10, TrainingCheckpoint(target), reset_num_timesteps=False)
    monkeypatch.undo()
    assert model.num_timesteps == 60
    assert go_on(folder).num_timesteps == 70


def test_a_folder_in_use(folder, monkeypatch):
    monkeypatch.setattr("sb3_qflex.checkpoint.layout._LOCK_SECONDS", 0.0)
    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    with CheckpointFolder(folder).lock(write=True):
        with pytest.raises(CheckpointError, match="in use by another training"):
            model.learn(10, TrainingCheckpoint(folder), reset_num_timesteps=False)
        with pytest.raises(CheckpointError, match="in use by another training"):
            QFlex.resume(folder, BoxEnv())
    # Released, also after the error.
    model.learn(10, TrainingCheckpoint(folder), reset_num_timesteps=False)
    assert go_on(folder, 5).num_timesteps == 75


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(CheckpointError, match=r"holds something else \(thesis.tex\)"):
        small_model(BoxEnv()).learn(10, TrainingCheckpoint(tmp_path))
    with pytest.raises(CheckpointError, match="is not a checkpoint folder"):
        QFlex.resume(tmp_path, BoxEnv())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_another_training(folder):
    with pytest.raises(CheckpointError, match="checkpoints of another training"):
        small_model(BoxEnv()).learn(10, TrainingCheckpoint(folder))
    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    with pytest.raises(CheckpointError, match="counts from step 0 again"):
        model.learn(10, TrainingCheckpoint(folder))
    assert QFlex.resume(folder, BoxEnv()).num_timesteps == 60


def test_exists(folder, tmp_path):
    assert TrainingCheckpoint.exists(folder)
    assert not TrainingCheckpoint.exists(tmp_path / "none")


def test_arguments():
    with pytest.raises(ValueError, match="every"):
        TrainingCheckpoint("folder", every=0)
    with pytest.raises(ValueError, match="on_error"):
        TrainingCheckpoint("folder", on_error="ignore")


def test_other_algorithms_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="of this package, not with SAC"):
        SAC("MlpPolicy", BoxEnv(), buffer_size=10).learn(1, TrainingCheckpoint(tmp_path))


def test_learning_on_in_one_process_appends(folder):
    model = QFlex.resume(folder, BoxEnv(), device="cpu")
    for _ in range(2):
        model.learn(10, TrainingCheckpoint(folder), reset_num_timesteps=False)
    segments = CheckpointFolder(folder).verified(6).segments
    assert [(one.first, one.stop) for one in segments[-2:]] == [(60, 70), (70, 80)]
    # A buffer from elsewhere is written as a whole.
    model.replay_buffer = model.make_replay_buffer()
    model.learn(10, TrainingCheckpoint(folder), reset_num_timesteps=False)
    assert [(one.first, one.stop) for one in CheckpointFolder(folder).verified(7).segments] == [(0, 10)]
