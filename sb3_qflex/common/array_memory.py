"""Whose memory an array looks into."""

import numpy as np


def owner_of(array: np.ndarray) -> np.ndarray:
    """
    :param array: Any
    :return: The array that has its memory, itself or what it is a view of
    """
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def is_of_a_simulator(array: np.ndarray) -> bool:
    """
    :param array: Any
    :return: Whether its memory is that of compiled code such as MuJoCo's, which changes it; an array that was read from
        a file may have its memory from elsewhere too, but it is a value
    """
    return type(owner_of(array).base).__name__ == "PyCapsule"
