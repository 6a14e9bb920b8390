"""The ids of this package, what is known of each without its model, and their registration."""

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from sb3_qflex.envs import models
from sb3_qflex.envs.models import Asset


@dataclass(frozen=True)
class Entry:
    """
    One id.

    :param id: Gymnasium id
    :param entry_point: Constructor, ``module:name``
    :param observations: Size of the observation
    :param actions: Number of actions
    :param bounds: Lower and upper bound of every action
    :param steps: Episode length in steps, after which it is truncated
    :param licence: Of the model, or of the package that brings it
    :param packages: Packages that must be installed
    :param assets: Files that must be found
    :param needs: Argument that has no default, with the reason
    :param kwargs: Arguments of the constructor that make the id
    """

    id: str
    entry_point: str
    observations: int
    actions: int
    bounds: tuple[float, float]
    steps: int
    licence: str
    packages: tuple[str, ...] = ()
    assets: tuple[Asset, ...] = ()
    needs: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)

    def missing(self) -> str:
        """Why the id cannot be made here and what to do, or an empty string if it can."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"package {package} is not installed: run `pip install {package}`"
        for asset in self.assets:
            if asset.local() is None and not models.menagerie_offers(asset):
                return f"{asset.name} was not found. {asset.advice()}"
        return self.needs

    def downloads(self) -> bool:
        """Whether making the id downloads a model."""
        return any(asset.local() is None and models.menagerie_offers(asset) for asset in self.assets)


def _body(id: str, constructor: str, sizes: tuple[int, int, int], *assets: Asset, **fields: Any) -> Entry:
    observations, actions, steps = sizes
    return Entry(
        id=id,
        entry_point=f"sb3_qflex.envs.{constructor}",
        observations=observations,
        actions=actions,
        bounds=fields.pop("bounds", (-1.0, 1.0)),
        steps=steps,
        licence=assets[0].licence,
        packages=("mujoco", *fields.pop("packages", ())),
        assets=assets,
        **fields,
    )


def _myo(id: str, sizes: tuple[int, int, int], bounds: tuple[float, float], **kwargs: Any) -> Entry:
    observations, actions, steps = sizes
    return Entry(
        id=id,
        entry_point="sb3_qflex.envs.myo:make_myo",
        observations=observations,
        actions=actions,
        bounds=bounds,
        steps=steps,
        licence="Apache-2.0",
        packages=("myosuite",),
        kwargs=kwargs,
    )


_PEN = {"task": "myoHandPenTwirlRandom-v0", "camera_name": "plam_lookat", "written": ("body_quat",)}
_LEG = {"task": "myoLegWalk-v0", "camera_name": "side_view"}
_MS_HUMAN = {"bounds": (0.0, 1.0), "packages": ("scipy",)}
_NO_MOTION = "pass motion_path=<your motion>: no public motion of this kind for MS-Human-700 was found"

CATALOGUE: tuple[Entry, ...] = (
    _myo("MyoHandPenTwirl-v0", (83, 39, 50), (-1.0, 1.0), **_PEN),
    _myo("MyoLegWalk-v0", (403, 80, 1000), (0.0, 1.0), **_LEG),
    _myo("MyoLegWalkSigmoid-v0", (403, 80, 1000), (-1.0, 1.0), sigmoid=True, **_LEG),
    _body("H1Run-v0", "h1:H1Run", (51, 19, 1000), models.H1_RUN),
    _body("H1BalanceSimple-v0", "h1:H1BalanceSimple", (64, 19, 1000), models.H1_BALANCE),
    _body("SMPLHumanoidJump-v0", "smpl_humanoid:SMPLHumanoidJump", (358, 69, 300), models.SMPL_HUMANOID),
    _body("OstrichRun-v0", "ostrich:OstrichRun", (596, 120, 3000), models.OSTRICH),
    _body(
        "MSHuman700Walk-v0",
        "ms_human_700:MSHuman700Walk",
        (3148, 700, 300),
        models.MS_HUMAN_700,
        models.WALKING_MOTION,
        **_MS_HUMAN,
    ),
    *(
        _body(
            f"MSHuman700{motion}-v0",
            "ms_human_700:MSHuman700Tracking",
            (3148, 700, 300),
            models.MS_HUMAN_700,
            needs=_NO_MOTION,
            **_MS_HUMAN,
        )
        for motion in ("Run", "Dance")
    ),
    Entry(
        id="PlanarChain-v0",
        entry_point="sb3_qflex.envs.planar_chain:PlanarChain",
        observations=4,
        actions=100,
        bounds=(-1.0, 1.0),
        steps=50,
        licence="none needed",
    ),
)


def register_envs() -> None:
    """Register every id of :data:`CATALOGUE` with Gymnasium; ids that are registered already are left as they are."""
    for entry in CATALOGUE:
        if entry.id not in gym.registry:
            gym.register(
                id=entry.id,
                entry_point=entry.entry_point,
                max_episode_steps=entry.steps,
                # One wrapper less around every step; the tests run the full checkers.
                disable_env_checker=True,
                kwargs=dict(entry.kwargs),
            )
