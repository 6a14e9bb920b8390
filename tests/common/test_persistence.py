"""Files are written aside and renamed, and yet what is there stays as its owner made it."""

import errno
import os
import stat
import subprocess
import sys
import types

import pytest
from helpers.places import ROOT
from helpers.small_models import BoxEnv, assert_same, parameters, small_model

from sb3_qflex import QFlex
from sb3_qflex.common import persistence
from sb3_qflex.common.persistence import lock, write_atomically


def write(path, content=b"new", suffix="zip"):
    return write_atomically(path, content, suffix)


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "scratch").mkdir()
    for name in ("here.zip", "dangling.zip"):
        (tmp_path / name).symlink_to(tmp_path / "scratch" / name)
    (tmp_path / "scratch" / "here.zip").write_bytes(b"old")
    (tmp_path / "twice.zip").symlink_to("here.zip")
    for name, target in (("here", "here"), ("dangling", "dangling"), ("twice", "here")):
        assert write(tmp_path / name, name.encode()) == tmp_path / f"{name}.zip"
        assert (tmp_path / f"{name}.zip").is_symlink()
        assert (tmp_path / "scratch" / f"{target}.zip").read_bytes() == name.encode()
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["dangling.zip", "here.zip"]


def test_a_model_and_its_export_through_links(tmp_path):
    model = small_model(BoxEnv()).learn(25)
    (tmp_path / "real").mkdir()
    for name in ("model.zip", "policy.safetensors"):
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
    model.save(tmp_path / "model")
    model.policy.export_policy(tmp_path / "policy")
    assert (tmp_path / "model.zip").is_symlink() and (tmp_path / "policy.safetensors").is_symlink()
    assert (tmp_path / "real" / "policy.safetensors").stat().st_size > 0
    loaded = QFlex.load(tmp_path / "real" / "model", device="cpu")
    assert_same(parameters(model), parameters(loaded))


def test_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        path = write(tmp_path / "model")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o664, 0o600, 0o660):
            path.chmod(mode)
            write(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_write_protected_file_is_left(tmp_path, monkeypatch):
    path = write(tmp_path / "model", b"old")
    # Root may write anything.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="write-protected"):
        write(path)
    assert path.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == ["model.zip"]


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u6f22", "\U0001f9be"], ids=["1", "2", "3", "4"])
@pytest.mark.parametrize("length", [246, 255])
def test_names_of_any_length(tmp_path, letter, length):
    name = letter * ((length - 4) // len(letter.encode()))
    name += "y" * (length - 4 - len(name.encode())) + ".zip"
    assert len(name.encode()) == length
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("what", ["cannot be flushed", "cannot be opened"])
def test_folders_of_other_systems(tmp_path, monkeypatch, what):
    fsync, opened = os.fsync, os.open

    def no_flush(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    def no_folder(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(*(("os.fsync", no_flush) if what == "cannot be flushed" else ("os.open", no_folder)))
    assert write(tmp_path / "model").read_bytes() == b"new"


def test_a_disk_that_fails_is_an_error(tmp_path, monkeypatch):
    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "model")


def test_a_file_that_another_process_has_open_for_a_moment(tmp_path, monkeypatch):
    path = write(tmp_path / "model", b"old")
    replace, refused = os.replace, []

    def busy(*args):
        if len(refused) < 2:
            refused.append(args)
            raise PermissionError(errno.EACCES, "Access is denied")
        replace(*args)

    monkeypatch.setattr(os, "replace", busy)
    assert write(path).read_bytes() == b"new" and len(refused) == 2
    monkeypatch.setattr(persistence, "_REPLACE_SECONDS", (0.0,))
    refused.clear()
    with pytest.raises(PermissionError, match="denied"):
        write(path, b"newer")
    assert path.read_bytes() == b"new" and [each.name for each in tmp_path.iterdir()] == ["model.zip"]


def test_locks(tmp_path):
    files = [(tmp_path / "lock").open("a+") for _ in range(3)]
    lock(files[0].fileno(), shared=True)
    lock(files[1].fileno(), shared=True)
    with pytest.raises(BlockingIOError):
        lock(files[2].fileno())
    files[0].close()
    files[1].close()
    lock(files[2].fileno())
    files[2].close()


def test_where_fcntl_is_missing(tmp_path):
    code = """
import sys
sys.modules["fcntl"] = None
import sb3_qflex.studies.runner, sb3_qflex.export.policy_file, sb3_qflex.vec_env.worker_vec_env
from sb3_qflex import QFlex
from sb3_qflex.checkpoint.callback import TrainingCheckpoint
model = QFlex("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]})
model.save(sys.argv[1] + "/model")
try:
    model.learn(3, TrainingCheckpoint(sys.argv[1] + "/checkpoint"))
except Exception as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    printed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert "this system has no file locks" in printed and (tmp_path / "model.zip").exists()


def test_locks_of_windows(tmp_path, monkeypatch):
    """With a module in the place of Windows', which locks one byte and says EACCES where that is taken."""
    taken = set()

    def locking(descriptor, mode, count):
        assert (mode, count) == (2, 1)
        if taken:
            raise PermissionError(errno.EACCES, "Permission denied")
        taken.add(descriptor)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    lock(3)
    with pytest.raises(BlockingIOError):
        lock(4, shared=True)
