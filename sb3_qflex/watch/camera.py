"""Pictures of an environment. On MuJoCo a camera of ours follows the body; elsewhere the environment draws itself."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
#: Degrees: from the side, a little from above.
AZIMUTH, ELEVATION = 90.0, -15.0


def mujoco_state(env: gym.Env) -> tuple[Any, Any] | None:
    """
    :param env: any environment, without wrappers
    :return: its MuJoCo model and data, None if it has none
    """
    model, data = getattr(env, "model", None), getattr(env, "data", None)
    is_mujoco = type(model).__name__ == "MjModel" and type(data).__name__ == "MjData"
    return (model, data) if is_mujoco else None


def without_shadows(env: gym.Env) -> None:
    """
    Turn shadows off, which take two thirds of the time of a picture on a CPU. To be called before the first one.

    :param env: any environment, without wrappers
    """
    state = mujoco_state(env)
    if state is not None:
        state[0].vis.quality.shadowsize = 0


def moving_root(model: Any) -> int | None:
    """
    The root of the body that a camera should follow.

    :param model: MuJoCo model
    :return: the world's child with the heaviest subtree, if joints of its own can carry it away (free or slide
        joints); None for a body with a fixed base
    """
    import mujoco

    children = [body for body in range(1, model.nbody) if model.body_parentid[body] == 0]
    if not children:
        return None
    root = max(children, key=lambda body: float(model.body_subtreemass[body]))
    first = model.body_jntadr[root]
    kinds = set(model.jnt_type[first : first + model.body_jntnum[root]].tolist()) if first >= 0 else set()
    return root if kinds & {int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_SLIDE)} else None


def following_camera(model: Any, data: Any, root: int) -> Any:
    """
    A camera that keeps the subtree of a body in the picture wherever it goes.

    :param model: MuJoCo model
    :param data: its data in the start state, from which the distance is taken
    :param root: body to follow
    :return: ``mujoco.MjvCamera``
    """
    import mujoco

    geoms = np.flatnonzero((model.body_rootid[model.geom_bodyid] == root) & (model.geom_rbound > 0))
    offsets = np.linalg.norm(data.geom_xpos[geoms] - data.subtree_com[root], axis=1) + model.geom_rbound[geoms]
    radius = float(np.max(offsets, initial=0.0)) or float(model.stat.extent)
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    camera.trackbodyid, camera.fixedcamid = root, -1
    camera.azimuth, camera.elevation = AZIMUTH, ELEVATION
    camera.distance = radius / np.sin(np.radians(model.vis.global_.fovy / 2))
    return camera


def photographer(
    env: gym.Env, width: int, height: int, camera: str | None = None
) -> tuple[Callable[[], Picture], Callable[[], None]]:
    """
    Choose how to draw an environment: with the camera that is named, else with the one that the environment was made
    with (``camera_name``), else with one that follows the moving root, else as the environment draws itself.

    :param env: the environment, without wrappers, made with ``render_mode="rgb_array"`` and reset
    :param width: width of the picture in pixels
    :param height: its height. A picture that the environment draws itself is scaled to fit into both
    :param camera: a camera of the MuJoCo model
    :return: the function that draws the present state, and the one to call at the end
    :raises ValueError: if there is no such camera
    """
    state = mujoco_state(env)
    if state is None:
        if camera is not None:
            raise ValueError(f"camera {camera!r}: this environment is not a MuJoCo one and draws itself")
        return (lambda: fit(_drawn_by(env), width, height)), (lambda: None)
    model, data = state
    names = [model.camera(index).name for index in range(model.ncam)]
    if camera is not None and camera not in names:
        raise ValueError(f"camera {camera!r} is no camera of this model; it has {names}")
    own = getattr(env, "camera_name", None)
    chosen: Any = camera or (own if own in names else None)
    if chosen is None and (root := moving_root(model)) is not None:
        chosen = following_camera(model, data, root)
    if chosen is None:
        return (lambda: fit(_drawn_by(env), width, height)), (lambda: None)
    return _mujoco_photographer(model, data, chosen, width, height)


def _mujoco_photographer(
    model: Any, data: Any, camera: Any, width: int, height: int
) -> tuple[Callable[[], Picture], Callable[[], None]]:
    import mujoco

    screen = model.vis.global_
    screen.offwidth, screen.offheight = max(screen.offwidth, width), max(screen.offheight, height)
    renderer = mujoco.Renderer(model, height, width, max_geom=max(10_000, 3 * model.ngeom))

    def draw() -> Picture:
        renderer.update_scene(data, camera=camera)
        return renderer.render()

    return draw, renderer.close


def _drawn_by(env: gym.Env) -> Picture:
    picture = env.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise ValueError(f"{env!r} draws no picture with render_mode='rgb_array'; it returned {type(picture).__name__}")
    return picture


def fit(picture: Picture, width: int, height: int) -> Picture:
    """
    Scale a picture so that it fits, with its proportions kept and its sides even, as video codecs want them.

    :param picture: shape (H, W, 3)
    :param width: largest width in pixels
    :param height: largest height in pixels
    :return: shape (h, w, 3) with h <= height and w <= width
    """
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = [max(2, 2 * int(scale * side / 2)) for side in (picture.shape[1], picture.shape[0])]
    return np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BICUBIC))
