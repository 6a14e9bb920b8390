"""How to look at a body."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """
    How to look at a body.

    :param width: of the picture in pixels
    :param height: of the picture in pixels
    :param camera: a camera of the MuJoCo model; None for the environment's own, or else :func:`framing_camera`
    :param azimuth: direction of the framing camera in degrees, 90 to look along y, 180 against x
    :param elevation: its tilt in degrees, negative to look down
    """

    width: int = 640
    height: int = 480
    camera: str | None = None
    azimuth: float = 135.0
    elevation: float = -15.0
