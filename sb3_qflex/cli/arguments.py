"""What several commands share."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def positive(text: str) -> int:
    """An argument as an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


@contextmanager
def told(*errors: type[Exception]) -> Iterator[None]:
    """Inside, errors of these kinds end the process with their message and no traceback."""
    try:
        yield
    except errors as error:
        sys.exit(str(error))
