"""Writing files so that a reader never finds half of one."""

import io
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable


def write_atomically(
    path: str | pathlib.Path, write: Callable[[io.BufferedIOBase], object], suffix: str
) -> pathlib.Path:
    """
    Write a file aside, flush it to disk, and rename it into place.

    A crash at any moment, also of the machine, leaves the previous file whole or the new one. A missing folder is
    created, as SB3's ``save`` does.

    :param path: Target; gets the suffix if it has none.
    :param write: Writes the content to an open file.
    :param suffix: Such as "zip".
    :return: The file.
    """
    target = pathlib.Path(path)
    if target.suffix == "":
        target = target.with_name(f"{target.name}.{suffix}")
    if not target.parent.exists():
        warnings.warn(f"Path '{target.parent}' does not exist. Will create it.", stacklevel=3)
        target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic only within a file system.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        sync(target.parent)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
    return target


def sync(path: str | pathlib.Path) -> None:
    """
    Wait until the disk has a file's content, or a folder's names.

    :param path: Of the file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # mkstemp makes files private; the umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
