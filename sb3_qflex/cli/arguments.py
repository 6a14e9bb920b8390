"""What the arguments of several commands share."""

import argparse


def positive(text: str) -> int:
    """
    :param text: an argument
    :return: it as an integer of at least 1
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)
