"""Pictures of an environment. On MuJoCo a camera of ours follows the body; elsewhere the environment draws itself."""

import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sb3_qflex.watch.view import View

Picture = NDArray[np.uint8]
#: MuJoCo draws the geoms of groups 0 to 2 by default.
VISIBLE_GROUPS = 3


def use_egl_without_a_screen() -> None:
    """Let MuJoCo draw without a screen, unless ``MUJOCO_GL`` is set; to be called before it is imported."""
    # Read by MuJoCo while it is imported; GLFW, its default, fails without a display.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")


def mujoco_state(env: gym.Env) -> tuple[Any, Any] | None:
    """MuJoCo model and data of an environment without wrappers, None if it has none."""
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
    The root of the body of a MuJoCo model that a camera should follow.

    It is the world's child with the heaviest subtree, if joints of its own can carry it away (free or slide joints);
    None for a body with a fixed base.
    """
    import mujoco

    children = [body for body in range(1, model.nbody) if model.body_parentid[body] == 0]
    if not children:
        return None
    root = max(children, key=lambda body: float(model.body_subtreemass[body]))
    first = model.body_jntadr[root]
    kinds = set(model.jnt_type[first : first + model.body_jntnum[root]].tolist()) if first >= 0 else set()
    return root if kinds & {int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_SLIDE)} else None


def framing_camera(model: Any, data: Any, view: View) -> Any:
    """
    A ``mujoco.MjvCamera`` that has all of a body in the picture: one that goes along with a moving root, or else a
    fixed one that looks at everything that can move. Distance and centre are taken from the data, of the start state.
    """
    import mujoco

    root = moving_root(model)
    of_body = model.body_weldid != 0 if root is None else model.body_rootid == root
    geoms = np.flatnonzero(of_body[model.geom_bodyid] & (model.geom_group < VISIBLE_GROUPS) & (model.geom_rbound > 0))
    positions, bounds = data.geom_xpos[geoms], model.geom_rbound[geoms]
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation = view.azimuth, view.elevation
    if root is None:
        centre = (positions.min(axis=0) + positions.max(axis=0)) / 2 if len(geoms) else model.stat.center
        camera.lookat[:] = centre
    else:
        centre = data.subtree_com[root]
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, root
    radius = np.max(np.linalg.norm(positions - centre, axis=1) + bounds, initial=0.0) or model.stat.extent
    camera.distance = radius / np.sin(np.radians(model.vis.global_.fovy / 2))
    return camera


def photographer(env: gym.Env, view: View) -> tuple[Callable[[], Picture], Callable[[], None]]:
    """
    Choose how to draw an environment. On MuJoCo: with the camera that is named, else the one that the environment was
    made with (``camera_name``), else :func:`framing_camera`. Other environments draw themselves.

    :param env: the environment, without wrappers, made with ``render_mode="rgb_array"`` and reset
    :param view: how to look; a picture that the environment draws itself is scaled to fit into width and height
    :return: the function that draws the present state, and the one to call at the end
    :raises ValueError: if there is no such camera
    """
    state = mujoco_state(env)
    names = [] if state is None else [state[0].camera(index).name for index in range(state[0].ncam)]
    if view.camera is not None and view.camera not in names:
        raise ValueError(f"camera {view.camera!r} is none of this environment's MuJoCo model, which has {names}")
    if state is None:
        return (lambda: fit(_drawn_by(env), view.width, view.height)), (lambda: None)
    own = getattr(env, "camera_name", None)
    chosen = view.camera or (own if own in names else None)
    return _mujoco_photographer(*state, chosen or framing_camera(*state, view), view)


def _mujoco_photographer(
    model: Any, data: Any, camera: Any, view: View
) -> tuple[Callable[[], Picture], Callable[[], None]]:
    import mujoco

    screen = model.vis.global_
    screen.offwidth, screen.offheight = max(screen.offwidth, view.width), max(screen.offheight, view.height)
    renderer = mujoco.Renderer(model, view.height, view.width, max_geom=max(10_000, 3 * model.ngeom))

    def draw() -> Picture:
        renderer.update_scene(data, camera=camera)
        return renderer.render()

    return draw, renderer.close


def _drawn_by(env: gym.Env) -> Picture:
    picture: Any = env.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise ValueError(f"{env!r} draws no picture with render_mode='rgb_array'; it returned {type(picture).__name__}")
    return picture


def fit(picture: Picture, width: int, height: int) -> Picture:
    """
    Scale a picture (H, W, 3) so that it fits into ``width`` and ``height`` pixels, with its proportions kept and its
    sides even, as video codecs want them.
    """
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = (max(2, 2 * int(scale * side / 2)) for side in (picture.shape[1], picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((w, h), Image.Resampling.BICUBIC))
