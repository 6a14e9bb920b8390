"""Writing files so that a reader never finds half of one."""

import errno
import os
import pathlib
import shutil
import sys
import tempfile
import time
import warnings
from contextlib import suppress

# Answers of systems that flush no such thing: folders of Windows and of some shared file systems.
_CANNOT_FLUSH = (errno.EINVAL, errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF, errno.ENOSYS, errno.ENOTSUP)
# Characters of the target's name in that of the file aside: with 8 random ones below 255 bytes in any alphabet.
_NAME_PART = 50
# Windows refuses to replace a file that another process has open, as virus scanners do for a moment.
_REPLACE_SECONDS = (0.01, 0.1, 1.0)


def write_atomically(path: str | pathlib.Path, content: bytes | memoryview, suffix: str) -> pathlib.Path:
    """
    Write a file aside, flush it to disk, and rename it into place.

    A crash at any moment, also of the machine, leaves the previous file whole or the new one. A missing folder is
    created, as SB3's ``save`` does. A link stays one and its target is written; an older file's permissions and group
    are kept.

    :param path: Target; gets the suffix if it has none.
    :param content: Of the whole file.
    :param suffix: Such as "zip".
    :return: The file.
    :raises PermissionError: If the older file may not be written.
    """
    named = pathlib.Path(path)
    if named.suffix == "":
        named = named.with_name(f"{named.name}.{suffix}")
    target = pathlib.Path(os.path.realpath(named))
    if not target.parent.exists():
        warnings.warn(f"Path '{target.parent}' does not exist. Will create it.", stacklevel=3)
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file there is write-protected", str(named))
    # In the same folder: a rename is atomic only within a file system.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:_NAME_PART]}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _flush(file.fileno())
        _take_permissions(temporary, target)
        _replace(temporary, target)
        sync(target.parent)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
    return named


def sync(path: str | pathlib.Path) -> None:
    """Wait until the disk has a file's content, or a folder's names, where the system can tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
        return
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, shared: bool = False) -> None:
    """
    Lock an open file, at once or not at all; closing it or the end of the process releases the lock.

    :param descriptor: Of the file.
    :param shared: Whether others may have it locked in the same way; not so on Windows.
    :raises BlockingIOError: If another process holds a lock that excludes this one.
    :raises OSError: If the system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        _lock_as_windows(descriptor)
    else:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _lock_as_windows(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from error
    else:
        raise OSError(errno.ENOLCK, "this system has no file locks")


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise


def _take_permissions(temporary: str, target: pathlib.Path) -> None:
    if not target.exists():
        # mkstemp makes files private.
        os.chmod(temporary, 0o666 & ~_umask())
        return
    if hasattr(os, "chown"):
        # Only root may give files away, and others only to groups of their own.
        with suppress(OSError):
            os.chown(temporary, -1, target.stat().st_gid)
    shutil.copymode(target, temporary)


def _replace(temporary: str, target: pathlib.Path) -> None:
    for pause in _REPLACE_SECONDS:
        try:
            return os.replace(temporary, target)
        except PermissionError:
            time.sleep(pause)
    os.replace(temporary, target)


def _umask() -> int:
    # It can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
