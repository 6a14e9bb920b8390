"""
Load damaged, truncated and foreign files as models:
``PYTHONPATH=tests python tests/robustness/inject_corrupted_files.py --files 1000``.

Every file is loaded in a process that is watched, so that a crash of the interpreter and a hang are seen. A file must
end in a ``BrokenFileError`` that names it, or, where the damage falls on a byte without meaning (a time stamp, say),
load as the very same model.
"""

import argparse
import io
import json
import pickle
import random
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch as th
from helpers.injection_record import FOLDER, write_record
from helpers.process_watch import environment_of_children
from helpers.small_models import BoxEnv, small_model

from sb3_qflex import QFlex
from sb3_qflex.common.model_file import BrokenFileError

_BATCH = 250
_SECONDS = 600


def damaged(content: bytes, count: int, generator: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damage of all kinds in turn, walking evenly through the file so that each region is met."""
    kinds: list[Callable[[bytes, int, random.Random], bytes]] = [flip, overwrite, truncate, remove, insert, zero]
    for index in range(count):
        kind = kinds[index % len(kinds)]
        # Every third one in the headers at the end, which are a small part of the bytes.
        start = len(content) - 900 if index // len(kinds) % 3 == 0 else 0
        position = start + (len(content) - start) * index // count
        yield kind.__name__, kind(content, min(position, len(content) - 1), generator)


def flip(content: bytes, at: int, generator: random.Random) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :]


def overwrite(content: bytes, at: int, generator: random.Random) -> bytes:
    noise = generator.randbytes(generator.randint(1, 64))
    return (content[:at] + noise + content[at + len(noise) :])[: len(content)]


def truncate(content: bytes, at: int, generator: random.Random) -> bytes:
    return content[:at]


def remove(content: bytes, at: int, generator: random.Random) -> bytes:
    return content[:at] + content[at + generator.randint(1, 64) :]


def insert(content: bytes, at: int, generator: random.Random) -> bytes:
    return content[:at] + generator.randbytes(generator.randint(1, 64)) + content[at:]


def zero(content: bytes, at: int, generator: random.Random) -> bytes:
    # As a file system leaves a block that was never written.
    return (content[:at] + bytes(512) + content[at + 512 :])[: len(content)]


def foreign() -> Iterator[tuple[str, bytes]]:
    """Files that were never a QFlex model."""
    yield "empty", b""
    yield "text", b"learning_rate: 3e-4\n"
    yield "noise", random.Random(0).randbytes(20_000)
    yield "pickle", pickle.dumps({"data": 1})
    tensors, arrays, other = io.BytesIO(), io.BytesIO(), io.BytesIO()
    th.save({"weight": th.zeros(3)}, tensors)
    yield "torch", tensors.getvalue()
    np.savez(arrays, data=np.zeros(3))
    yield "npz", arrays.getvalue()
    from stable_baselines3 import SAC

    SAC("MlpPolicy", BoxEnv(), policy_kwargs={"net_arch": [4]}, device="cpu", buffer_size=10).save(other)
    yield "another algorithm", other.getvalue()
    for name, data in (("attributes that are a list", b"[1, 2]"), ("attributes cut off", b'{"policy_class": {')):
        yield name, with_attributes(data)
    yield "attributes missing", with_attributes(b"{}")


def with_attributes(data: bytes) -> bytes:
    """A whole archive with all members of a model, and these attributes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data", data)
        for name in ("policy", "actor.optimizer", "critic.optimizer", "field.optimizer"):
            state = io.BytesIO()
            th.save({}, state)
            archive.writestr(f"{name}.pth", state.getvalue())
    return stream.getvalue()


def same(first: QFlex, second: QFlex) -> bool:
    mine, theirs = first.policy.state_dict(), second.policy.state_dict()
    return mine.keys() == theirs.keys() and all(th.equal(value, theirs[name]) for name, value in mine.items())


def load_one(path: Path, original: QFlex) -> str:
    """
    :return: "refused" or "same"; anything else is a fault
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = QFlex.load(path, device="cpu")
    except BrokenFileError as error:
        return "refused" if str(path) in str(error) else f"does not name the file: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "same" if same(loaded, original) else "another model"


def load_all(folder: Path) -> None:
    """Print what happens to each file, one line each, in the order of their names."""
    original = QFlex.load(folder / "original.zip", device="cpu")
    for path in sorted(folder.glob("bad*.zip")):
        print(json.dumps([path.name, load_one(path, original)]), flush=True)


def load_watched(folder: Path, files: dict[str, bytes]) -> dict[str, str]:
    """
    Load files in a process of their own.

    :param folder: An empty one, but for original.zip
    :param files: Contents by name
    :return: What happened to each, "crash" or "hang" for the one at which the process ended
    """
    for name, content in files.items():
        (folder / name).write_bytes(content)
    command = [sys.executable, __file__, "--load", str(folder)]
    try:
        environment = environment_of_children()
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment)
        output = done.stdout
        ending = "crash"
    except subprocess.TimeoutExpired as expired:
        output, ending = (expired.stdout or b"").decode(), "hang"
    outcomes = dict(map(json.loads, output.splitlines()))
    for name in files:
        (folder / name).unlink()
    return {name: outcomes.get(name, ending) for name in files}


def inject(count: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """
    :param count: Damaged files; those that are foreign come on top
    :param seed: Of the damage
    :return: How often what happened, and what went wrong
    """
    model = small_model(BoxEnv(), policy_kwargs={"net_arch": [4]}).learn(25)
    stream = io.BytesIO()
    model.save(stream)
    cases = [*damaged(stream.getvalue(), count, random.Random(seed)), *foreign()]
    outcomes: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "original.zip").write_bytes(stream.getvalue())
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            files = {f"bad{start + index:06}.zip": content for index, (_, content) in enumerate(batch)}
            for (kind, _), (file, outcome) in zip(batch, load_watched(folder, files).items(), strict=True):
                outcomes[outcome if outcome in ("refused", "same", "crash", "hang") else "other"] += 1
                if outcome not in ("refused", "same"):
                    faults.append(f"{file} ({kind}): {outcome}")
    return outcomes, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the JSON file")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    if arguments.load is not None:
        load_all(arguments.load)
        return
    outcomes, faults = inject(arguments.files, arguments.seed)
    path = write_record(
        "corrupted_files",
        arguments.out,
        fault="A model's file is damaged, cut off or foreign",
        how="bits flipped, bytes overwritten, zeroed, removed or inserted, and files cut off, in every region; and "
        "files of other kinds",
        count=outcomes.total(),
        outcome=f"{outcomes['refused']} refused by an error that names the file, {outcomes['same']} loaded as the "
        f"same model (bytes without meaning), {outcomes['crash']} crashes, {outcomes['hang']} hangs, "
        f"{outcomes['other']} other",
        lost="the damaged file",
        faults=faults,
        seed=arguments.seed,
    )
    print(path.read_text())
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
