"""Where the tests find third-party bodies: SB3_QFLEX_ASSETS, or the folder shared/assets beside the repository."""

import os

import gymnasium as gym
import pytest
from helpers.places import ROOT

from sb3_qflex.envs import CATALOGUE
from sb3_qflex.envs.catalogue import Entry
from sb3_qflex.envs.models import ASSETS_VARIABLE

SIBLING = ROOT.parent / "shared" / "assets"
if SIBLING.is_dir():
    os.environ.setdefault(ASSETS_VARIABLE, str(SIBLING))

ENTRIES = {entry.id: entry for entry in CATALOGUE}
MOTION_NEEDED = ("MSHuman700Run-v0", "MSHuman700Dance-v0")


def needs(entry_id: str) -> pytest.MarkDecorator:
    """
    :param entry_id: Id the test makes
    :return: Mark that skips the test, with the reason, where the id cannot be made
    """
    reason = ENTRIES[entry_id].missing()
    return pytest.mark.skipif(bool(reason), reason=f"{entry_id}: {reason}")


def parametrize(entries: list[Entry]) -> pytest.MarkDecorator:
    """
    :param entries: Ids to run a test with
    :return: Parametrization of ``entry`` that skips what cannot be made here
    """
    return pytest.mark.parametrize("entry", [pytest.param(e, id=e.id, marks=needs(e.id)) for e in entries])


def make(entry_id: str, **kwargs: object) -> gym.Env:
    """
    :param entry_id: Id to make
    :param kwargs: Arguments of the environment
    :return: The environment without its wrappers, for a look at single states
    """
    return gym.make(entry_id, disable_env_checker=True, **kwargs).unwrapped


MAKEABLE = [entry for entry in CATALOGUE if entry.id not in MOTION_NEEDED]
BODIES = [entry for entry in MAKEABLE if entry.assets]
MYO = [entry for entry in MAKEABLE if "myosuite" in entry.packages]
