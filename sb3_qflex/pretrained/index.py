"""The index of trained policies: what each is, what it does in its task, and the checksums of its files."""

import difflib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sb3_qflex.common.persistence import write_atomically

#: Names a folder of policies in place of the package's own.
VARIABLE = "SB3_QFLEX_PRETRAINED"
INDEX, VERSION = "index.json", 1
#: Where those that come with this package lie.
HOME = Path(__file__).parent
#: Suffixes of the files of a policy, and how large each may be.
SUFFIXES, MOST_BYTES = (".safetensors", ".onnx"), 2_000_000


class PretrainedError(ValueError):
    """There is no such trained policy, or its file is another than the index says."""


@dataclass(frozen=True)
class Played:
    """
    What a policy did in its task, deterministically, asked at every step.

    :param episodes: how many
    :param seed: of the first; those that follow have the next ones
    :param mean_return: over the episodes, with the ends of its 95 % interval
    :param mean_length: steps of an episode
    :param at_end: share of the episodes with success at the last step, with the ends of its 95 % interval (Wilson);
        None for a task that tells of none
    :param at_any_step: with success at any step, in the same way
    :param date: day of the evaluation
    :param versions: it was evaluated with
    """

    episodes: int
    seed: int
    mean_return: Sequence[float]
    mean_length: float
    at_end: Sequence[float] | None
    at_any_step: Sequence[float] | None
    date: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """
    One policy.

    :param id: its name here
    :param environment: Gymnasium id of its task
    :param env_kwargs: arguments of the environment
    :param wrappers: what stands between policy and task and belongs to it (an action map), as RL Zoo's
        ``env_wrapper`` has it; empty for a policy that acts in the plain environment
    :param packages: that the task needs beside this one
    :param algorithm: class that trained it
    :param policy_class: of the policy, ``module:name``
    :param command: that trained it
    :param seed: of the training
    :param steps: of the environment in training, each frame of a repeated action counted
    :param cpu_minutes: that the training took
    :param storage: of the matrices in both files
    :param files: size and checksum of each file by its suffix
    :param played: what it does in its task
    :param report: page with the training's curves, relative to the folder of the documentation; "" for none
    :param camera: of the MuJoCo model in the picture; "" for one that follows the body
    """

    id: str
    environment: str
    algorithm: str
    policy_class: str
    command: str
    seed: int
    steps: int
    cpu_minutes: float
    storage: str
    files: Mapping[str, Mapping[str, Any]]
    played: Played
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: Sequence[Any] = ()
    packages: Sequence[str] = ()
    report: str = ""
    camera: str = ""

    @property
    def succeeds(self) -> bool:
        """Whether it solved its task in some episode, as far as the task tells."""
        return self.played.at_any_step is None or self.played.at_any_step[0] > 0


class Collection:
    """
    A folder of policies with their index.

    :param folder: By default the one that ``SB3_QFLEX_PRETRAINED`` names, or the package's own. One without an index
        of its own has files of the package's policies, which did not fit into the wheel.
    :raises PretrainedError: If there is no such folder, or its index is damaged or of a newer format
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or os.environ.get(VARIABLE) or HOME)
        if not self.folder.is_dir():
            raise PretrainedError(
                f"There is no folder {self.folder} of trained policies (folder=, --folder, {VARIABLE})."
            )
        own = self.folder / INDEX
        self.entries: dict[str, Entry] = _read(own if own.is_file() else HOME / INDEX)

    def find(self, id: str) -> Entry:
        """
        :param id: of a policy
        :raises PretrainedError: if there is none, with the names that are near
        """
        if id in self.entries:
            return self.entries[id]
        near = difflib.get_close_matches(id, self.entries)
        hint = f" Near: {', '.join(near)}." if near else ""
        known = ", ".join(self.entries) or "none yet"
        raise PretrainedError(f"There is no trained policy {id!r}.{hint} There are: {known}.")

    def file(self, entry: Entry, suffix: str) -> Path:
        """
        :param entry: one of this collection
        :param suffix: one of :data:`SUFFIXES`
        :return: its file, which is the one that the index describes
        :raises FileNotFoundError: if it is not there
        :raises PretrainedError: if its checksum is another
        """
        name = f"{entry.id}{suffix}"
        here = [folder / name for folder in (self.folder, HOME) if (folder / name).is_file()]
        if suffix not in entry.files or not here:
            raise FileNotFoundError(
                f"The file {name} is not in {self.folder}: it did not fit into the package. Get the folder "
                f"sb3_qflex/pretrained of the repository, and name it by folder=, --folder or {VARIABLE}."
            )
        found = checksum(here[0].read_bytes())
        if found != entry.files[suffix]["sha256"]:
            raise PretrainedError(
                f"{here[0]} is not the file that the index describes (SHA-256 {found}, and not "
                f"{entry.files[suffix]['sha256']}): it is damaged or another version. Get it anew."
            )
        return here[0]

    def check_free(self, id: str) -> None:
        """A PretrainedError if this folder's own index has a policy of that name."""
        own = self.folder / INDEX
        if own.is_file() and id in _read(own):
            raise PretrainedError(f"{self.folder} has a policy {id!r} already: choose another --id, or --overwrite it.")

    def add(self, entry: Entry) -> None:
        """
        Write an entry to the folder's own index.

        :param entry: a new one, or another version of one that is there
        """
        own = self.folder / INDEX
        entries = (_read(own) if own.is_file() else {}) | {entry.id: entry}
        data = {"version": VERSION, "policies": [asdict(entries[id]) for id in sorted(entries)]}
        text = json.dumps(data, indent=1, allow_nan=False) + "\n"
        write_atomically(own, text.encode(), "json")
        self.entries = entries


def checksum(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as the index has them."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": checksum(content)}


def _read(path: Path) -> dict[str, Entry]:
    try:
        data = json.loads(path.read_text())
        if data["version"] != VERSION:
            raise PretrainedError(
                f"{path} has version {data['version']!r} of the index, and this sb3_qflex reads version {VERSION}: use "
                "a newer sb3_qflex."
            )
        entries = [Entry(**{**one, "played": Played(**one["played"])}) for one in data["policies"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        names = ", ".join(one.name for one in fields(Entry))
        raise PretrainedError(f"{path} is no index of policies, whose entries have {names}: {error!r}") from error
    return {entry.id: entry for entry in entries}
