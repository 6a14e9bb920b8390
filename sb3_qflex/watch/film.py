"""Frames into files: mp4 for looking, GIF for READMEs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sb3_qflex.watch.camera import Picture, fit


def write_mp4(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """
    Write a video, frame by frame as they come.

    :param path: file to write
    :param frames: pictures of one shape (H, W, 3) with even sides
    :param fps: frames per second
    :raises ImportError: without imageio and ffmpeg, with the command that installs them
    """
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401 only imported by imageio at the first frame
    except ImportError as error:
        raise ImportError("videos need imageio with ffmpeg: pip install 'imageio[ffmpeg]'") from error

    video: Any = imageio.get_writer(path, fps=fps, macro_block_size=1)
    try:
        with video:
            for frame in frames:
                video.append_data(frame)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


#: Pixels below which nobody sees anything.
_NARROWEST = 100


class GifFrames:
    """
    The frames of a GIF, made small as they come.

    :param fps: frames per second of the film; the GIF keeps at most ``max_fps`` of them
    :param width: largest width of the GIF in pixels
    :param max_fps: most frames per second of the GIF
    """

    def __init__(self, fps: float, width: int = 320, max_fps: float = 12.5):
        self.width = width
        self.stride = max(1, round(fps / max_fps))
        self.seconds = self.stride / fps
        self._seen = 0
        self._kept: list[Picture] = []

    def add(self, frame: Picture) -> None:
        """The next frame of the film, shape (H, W, 3)."""
        if self._seen % self.stride == 0:
            self._kept.append(fit(frame, min(self.width, frame.shape[1]), frame.shape[0]))
        self._seen += 1

    def save(self, path: Path, colours: int = 64, most_bytes: int | None = None) -> None:
        """
        Write the file, with one palette of 2 to 256 colours for all frames: small, and without flicker.

        :param most_bytes: size above which it is written again with smaller frames
        :raises ValueError: if there are no frames, or so many that even tiny ones are too large
        """
        self._write(path, colours)
        while most_bytes is not None and path.stat().st_size > most_bytes and self.width > _NARROWEST:
            self.width = int(0.85 * self.width)
            self._kept = [fit(frame, self.width, frame.shape[0]) for frame in self._kept]
            self._write(path, colours)
        if most_bytes is not None and path.stat().st_size > most_bytes:
            path.unlink()
            raise ValueError(f"{path}: {len(self._kept)} frames do not fit into {most_bytes} bytes: record fewer steps")

    def _write(self, path: Path, colours: int) -> None:
        if not self._kept:
            raise ValueError(f"{path}: no frames to write")
        # Of a few frames of the whole film, side by side.
        sample = [self._kept[index * (len(self._kept) - 1) // 3] for index in range(4)]
        palette = Image.fromarray(np.hstack(sample)).quantize(colours)
        frames = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._kept]
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=1000 * self.seconds, loop=0, optimize=True
        )
