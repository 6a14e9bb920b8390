"""A block of memory shared by processes that has no name, so that nothing can be left behind.

The kernel frees it with its last user, however that one ends; a named segment would outlive a killed process.
"""

import mmap
import os
import tempfile


def create(nbytes: int) -> int:
    """
    :param nbytes: size of the block
    :return: a file descriptor of the block, to be passed to ``open_block`` and then closed
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sb3_qflex_vec_env")
    else:
        # Without memfd_create (macOS), a file already removed from its folder serves the same.
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


def open_block(descriptor: int, nbytes: int) -> mmap.mmap:
    """
    :param descriptor: of the block; may be closed afterwards
    :param nbytes: size of the block
    :return: the block as a buffer, zeros where nothing was written yet
    """
    return mmap.mmap(descriptor, nbytes)
