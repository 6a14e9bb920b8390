"""What is drawn over and below a picture: numbers of the moment, and a strip with one bar for each muscle."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sb3_qflex.watch.camera import Picture, mujoco_state
from sb3_qflex.watch.episode import Moment

CAPTION_HEIGHT, BARS_HEIGHT = 18, 46
STRIP_HEIGHT = CAPTION_HEIGHT + BARS_HEIGHT
_BACKGROUND = (24, 26, 32)
_EMPTY = (52, 56, 66)
_TEXT = (238, 238, 238)
#: Bars from rest to full activation, and negative ones.
_LOW, _HIGH, _NEGATIVE = np.array([92, 150, 220.0]), np.array([232, 92, 60.0]), np.array([92, 150, 220.0])


@lru_cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def lines_of(moment: Moment, exploration: str) -> list[str]:
    """The numbers of a moment as lines for :func:`write`; ``exploration`` is the policy's, "source" if it has none."""
    lines = [
        f"t {moment.time:.2f} s   step {moment.step}",
        f"reward {moment.reward:.3g}   return {moment.total:.4g}",
    ]
    if moment.q_source is None or moment.q_executed is None:
        return lines
    lines.append(f"Q source {moment.q_source:.4g}")
    if exploration != "source":
        lines.append(f"Q {exploration} {moment.q_executed:.4g}   ({moment.q_executed - moment.q_source:+.3g})")
    return lines


def write(picture: Picture, lines: Sequence[str]) -> Picture:
    """A copy of a picture (H, W, 3) with short lines in its upper left corner, on a darkened ground."""
    size = max(10, picture.shape[0] // 30)
    font, spacing = _font(size), int(1.35 * size)
    width = max((int(font.getlength(line)) for line in lines), default=0) + 2 * size
    result = picture.copy()
    ground = result[: spacing * len(lines) + size, :width]
    np.copyto(ground, (0.35 * ground).astype(np.uint8))
    image = Image.fromarray(result)
    canvas = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        canvas.text((size, size // 2 + number * spacing), line, fill=_TEXT, font=font)
    return np.asarray(image)


def muscles(env: gym.Env) -> NDArray[np.float64] | None:
    """Present activations of the muscles of an environment without wrappers, in [0, 1]; None if it has none."""
    state = mujoco_state(env)
    if state is None:
        return None
    import mujoco

    model, data = state
    are_muscles = model.actuator_dyntype == int(mujoco.mjtDyn.mjDYN_MUSCLE)
    return data.act[model.actuator_actadr[are_muscles]].copy() if are_muscles.any() else None


def strip(values: NDArray[np.floating], width: int, caption: str, signed: bool = False) -> Picture:
    """
    One bar for each value, with a caption above them.

    :param values: shape (n,), in [0, 1], or in [-1, 1] if signed; what is outside is cut. Where n is larger than the
        width, a column of pixels shows the first of the values that fall into it
    :param width: width in pixels
    :param caption: one line of text
    :param signed: whether bars start from the middle, up for positive values and down for negative ones
    :return: shape (``STRIP_HEIGHT``, width, 3)
    """
    result = np.full((STRIP_HEIGHT, width, 3), _BACKGROUND, dtype=np.uint8)
    owner = np.arange(width) * len(values) // width
    is_gap = np.append(owner[1:] != owner[:-1], False) & (width >= 4 * len(values))
    level = np.clip(values, -1.0 if signed else 0.0, 1.0)[owner]
    height = np.abs(level) * (BARS_HEIGHT // 2 if signed else BARS_HEIGHT)
    rows = np.arange(BARS_HEIGHT)[:, None] + 0.5
    from_base = ((BARS_HEIGHT // 2 if signed else BARS_HEIGHT) - rows) * np.where(level < 0, -1.0, 1.0)
    is_bar = (from_base > 0) & (from_base < height)
    colour = np.where(level[:, None] < 0, _NEGATIVE, _HIGH if signed else _LOW + level[:, None] * (_HIGH - _LOW))
    bars = np.where(is_bar[:, :, None], colour, _EMPTY)
    bars[:, is_gap] = _BACKGROUND
    result[CAPTION_HEIGHT:] = bars.astype(np.uint8)
    image = Image.fromarray(result)
    ImageDraw.Draw(image).text((4, 1), caption, fill=_TEXT, font=_font(CAPTION_HEIGHT - 6))
    return np.asarray(image)


def compose(picture: Picture, moment: Moment, exploration: str, activations: NDArray[np.floating] | None) -> Picture:
    """
    A frame, (H + ``STRIP_HEIGHT``, W, 3): the picture with its numbers, and below it the strip of the activations of
    the muscles, or of the action where they are None.
    """
    if activations is None:
        below = strip(moment.action, picture.shape[1], f"action, {len(moment.action)} actuators, -1 to 1", signed=True)
    else:
        below = strip(activations, picture.shape[1], f"activation, {len(activations)} muscles, 0 to 1")
    return np.vstack([write(picture, lines_of(moment, exploration)), below])
