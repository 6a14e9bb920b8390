"""Where the bodies are found. No model is part of this package: each is looked for where a user keeps it.

The order: the ``model_path=`` argument, the folder named by ``SB3_QFLEX_ASSETS``, an installed package, and for
the robots MuJoCo Menagerie has, the ``mujoco-menagerie`` package. In the assets folder a model may lie under its
short name or in a clone of its repository::

    $SB3_QFLEX_ASSETS/
        h1/envs/h1_pos_walk.xml                  or  humanoid-bench/humanoid_bench/assets/envs/h1_pos_walk.xml
        h1/envs/h1_pos_balance_simple.xml        or  humanoid-bench/humanoid_bench/assets/envs/...
        smpl_humanoid/robot.xml                  or  humenv/humenv/assets/robot.xml
        ostrich/models/ostrich/ostrich.xml       or  ostrichrl/ostrichrl/assets/models/ostrich/ostrich.xml
        ms_human_700/MS-Human-700.xml            or  MS-Human-700/MS-Human-700.xml
        motion/walking_gait.npz                  or  msgym/msgym/motion_data/walking_gait.npz
"""

import importlib.util
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mujoco

ASSETS_VARIABLE = "SB3_QFLEX_ASSETS"


class AssetNotFoundError(FileNotFoundError):
    """A model or motion is nowhere on this machine; the message says how to get it."""


@dataclass(frozen=True)
class Asset:
    """
    A file of somebody else's that an environment needs.

    :param name: What it is, for messages
    :param licence: Under which licence it is distributed
    :param argument: The environment's argument that names the file
    :param folder_file: Its path below the assets folder
    :param repository: GitHub repository it comes from, ``owner/name``
    :param repository_file: Its path in a clone of that repository
    :param menagerie: Robot and entry in ``mujoco-menagerie``, if it is there
    """

    name: str
    licence: str
    argument: str
    folder_file: str
    repository: str
    repository_file: str
    menagerie: tuple[str, str] | None = None

    @cached_property
    def _clone(self) -> str:
        return self.repository.split("/")[1]

    def find(self, given: str | Path | None = None) -> Path:
        """
        Look for the file in the order of this module's docstring; Menagerie may download it.

        :param given: The user's own path; if given, nothing else is tried
        :return: Absolute path of an existing file
        :raises AssetNotFoundError: If it is nowhere, or ``given`` does not exist
        """
        if given is not None:
            path = Path(given).expanduser().resolve()
            if not path.is_file():
                raise AssetNotFoundError(f"{self.argument}={str(given)!r} is not a file; {self.advice()}")
            return path
        path_or_none = self.local()
        if path_or_none is None and self.menagerie is not None:
            path_or_none = _from_menagerie(*self.menagerie, download=True)
        if path_or_none is None:
            raise AssetNotFoundError(f"{self.name} was not found. {self.advice()}")
        return path_or_none

    def local(self) -> Path | None:
        """Absolute path of the file if it is on this machine already."""
        candidates = []
        root = os.environ.get(ASSETS_VARIABLE)
        if root:
            folder = Path(root).expanduser().resolve()
            candidates += [folder / self.folder_file, folder / self._clone / self.repository_file]
        package, _, inside = self.repository_file.partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is not None and inside:
            candidates += [Path(place) / inside for place in spec.submodule_search_locations or ()]
        for candidate in candidates:
            if candidate.is_file():
                return candidate.resolve()
        return _from_menagerie(*self.menagerie, download=False) if self.menagerie is not None else None

    def advice(self) -> str:
        """Where to get the file, under which licence, and the command or argument that makes it found."""
        root = os.environ.get(ASSETS_VARIABLE)
        prepare = "" if root else f"export {ASSETS_VARIABLE}=~/models && "
        state = f"is {root!r}" if root else "is not set"
        clone = f'git clone https://github.com/{self.repository} "${ASSETS_VARIABLE}/{self._clone}"'
        install = "`pip install mujoco-menagerie` (downloads it on first use), or " if self.menagerie else ""
        return (
            f"Get {self.name} (licence {self.licence}) by {install}`{prepare}{clone}`, or pass "
            f"{self.argument}=<your copy of {Path(self.repository_file).name}>. {ASSETS_VARIABLE}, the folder "
            f"models are kept in, {state}."
        )


def _from_menagerie(robot: str, entry: str, download: bool) -> Path | None:
    if importlib.util.find_spec("mujoco_menagerie") is None:
        return None
    import mujoco_menagerie

    cache = mujoco_menagerie.Cache()
    record = mujoco_menagerie.get(robot)
    present = (cache.root / robot).is_dir() if cache.root else cache.is_cached(record)
    if not present and not download:
        return None
    try:
        return Path(record.xml(entry, cache)).resolve()
    except (mujoco_menagerie.MenagerieError, OSError) as error:
        raise AssetNotFoundError(
            f"mujoco-menagerie could not provide {robot!r} ({error}). Without a network, set MENAGERIE_ROOT to a "
            f"checkout of mujoco_menagerie, or put the model into the folder named by {ASSETS_VARIABLE}."
        ) from error


def menagerie_offers(asset: Asset) -> bool:
    """Whether an installed ``mujoco-menagerie`` would download the model."""
    return asset.menagerie is not None and importlib.util.find_spec("mujoco_menagerie") is not None


def compiled_model(path: Path, timestep: float) -> "mujoco.MjModel":
    """
    The compiled model, shared by every environment of this process; do not change it.

    :param path: MJCF file
    :param timestep: Step of the simulation in s, in place of the file's
    :return: The model, compiled once per file, date of change and timestep
    :raises ValueError: If MuJoCo cannot compile the file
    """
    return _compile(str(path), path.stat().st_mtime_ns, timestep)


@cache
def _compile(path: str, modified: int, timestep: float) -> "mujoco.MjModel":
    import mujoco

    model = mujoco.MjModel.from_xml_path(path)
    model.opt.timestep = timestep
    return model


H1_RUN = Asset(
    name="the Unitree H1 walking scene of HumanoidBench",  # its running scene is the same but for the name
    licence="MIT, robot files BSD-3-Clause",
    argument="model_path",
    folder_file="h1/envs/h1_pos_walk.xml",
    repository="carlosferrazza/humanoid-bench",
    repository_file="humanoid_bench/assets/envs/h1_pos_walk.xml",
)
H1_BALANCE = Asset(
    name="the Unitree H1 balancing scene of HumanoidBench",
    licence="MIT, robot files BSD-3-Clause",
    argument="model_path",
    folder_file="h1/envs/h1_pos_balance_simple.xml",
    repository="carlosferrazza/humanoid-bench",
    repository_file="humanoid_bench/assets/envs/h1_pos_balance_simple.xml",
)
SMPL_HUMANOID = Asset(
    name="the SMPL humanoid of humenv",
    licence="CC BY-NC 4.0",
    argument="model_path",
    folder_file="smpl_humanoid/robot.xml",
    repository="facebookresearch/humenv",
    repository_file="humenv/assets/robot.xml",
)
OSTRICH = Asset(
    name="the ostrich of OstrichRL",
    licence="MIT",
    argument="model_path",
    folder_file="ostrich/models/ostrich/ostrich.xml",
    repository="vittorione94/ostrichrl",
    repository_file="ostrichrl/assets/models/ostrich/ostrich.xml",
)
MS_HUMAN_700 = Asset(
    name="the musculoskeletal body MS-Human-700",
    licence="Apache-2.0",
    argument="model_path",
    folder_file="ms_human_700/MS-Human-700.xml",
    repository="LNSGroup/MS-Human-700",
    repository_file="MS-Human-700.xml",
    menagerie=("ms_human_700", "scene"),
)
WALKING_MOTION = Asset(
    name="the walking cycle of msgym",
    licence="Apache-2.0",
    argument="motion_path",
    folder_file="motion/walking_gait.npz",
    repository="LNSGroup/msgym",
    repository_file="msgym/motion_data/walking_gait.npz",
)
