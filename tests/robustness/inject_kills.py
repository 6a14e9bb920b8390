"""
SIGKILL at random moments of a training with checkpoints; then the checkpoint must load and training go on.

Trains a small model in a child process under ``TrainingCheckpoint`` with frequent checkpoints, kills it, checks every
visible generation, and lets the next child resume. Trainings that reach their end are followed by new ones. Children
are forked from a parent that has imported torch, so that a kill costs a fraction of a second.

    PYTHONPATH=tests python tests/robustness/inject_kills.py --kills 200 --out docs/robustness/kills.json
"""

import argparse
import json
import mmap
import os
import random
import select
import signal
import struct
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from stable_baselines3.common.callbacks import BaseCallback

import sb3_qflex
from sb3_qflex import CheckpointError, QFlex, TrainingCheckpoint
from sb3_qflex.checkpoint.layout import CheckpointFolder
from sb3_qflex.checkpoint.manifest import Manifest
from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv

EVERY, TOTAL, N_ENVS = 40, 2_000, 4
# Longer than any resume takes: a child that says nothing for so long counts as hanging.
PATIENCE = 600.0


@dataclass
class Counts:
    """What became of the kills."""

    kills: int = 0
    while_writing: int = 0
    before_first: int = 0
    while_resuming: int = 0
    resumed: int = 0
    unreadable: int = 0
    failed: int = 0
    lost_steps: list[int] = field(default_factory=list)


class Report(BaseCallback):
    """Tells the parent where training is; the first step also that it goes on."""

    def __init__(self, pipe: int, step: mmap.mmap) -> None:
        super().__init__()
        self.pipe, self.step = pipe, step

    def _on_step(self) -> bool:
        if self.n_calls == 1:
            os.write(self.pipe, b"+")
        self.step[:8] = struct.pack("q", self.num_timesteps)
        return True


def new_model() -> QFlex:
    """Small, but with updates and a ring that soon begins anew."""
    small = {"policy_kwargs": {"net_arch": [16]}, "flow_steps": 2, "guidance_steps": 2, "batch_size": 8}
    env = PlanarChainVecEnv(N_ENVS, n_links=3)
    return QFlex("MlpPolicy", env, learning_starts=20, buffer_size=800, seed=0, device="cpu", **small)


def train(folder: Path, pipe: int, step: mmap.mmap) -> None:
    """Start or go on, as a user's script would."""
    if TrainingCheckpoint.exists(folder):
        model = QFlex.resume(folder, PlanarChainVecEnv(N_ENVS, n_links=3), device="cpu")
    else:
        model = new_model()
    callbacks = [TrainingCheckpoint(folder, every=EVERY), Report(pipe, step)]
    model.learn(TOTAL - model.num_timesteps, callbacks, reset_num_timesteps=False)


def fork(folder: Path, step: mmap.mmap) -> tuple[int, int]:
    """A child that trains; returns its pid and the pipe that it reports to."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid > 0:
        os.close(sender)
        return pid, receiver
    try:
        train(folder, sender, step)
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def heard(pipe: int, seconds: float) -> bool:
    """Whether the child has taken its first step; False as well if it has ended."""
    ready, _, _ = select.select([pipe], [], [], seconds)
    return bool(ready) and os.read(pipe, 1) == b"+"


def last_manifest(folder: Path, counts: Counts) -> Manifest | None:
    """The last generation; every one that can be seen must be whole."""
    manifest = None
    files = CheckpointFolder(folder)
    for number in files.numbers():
        try:
            manifest = files.verified(number)
        except CheckpointError as error:
            counts.unreadable += 1
            print(f"unreadable: {error}")
    return manifest


def one_kill(folder: Path, step: mmap.mmap, rng: random.Random, counts: Counts) -> bool:
    """Start or resume a training in the folder and kill it; False if it ended before."""
    before = last_manifest(folder, counts)
    step[:8] = struct.pack("q", 0 if before is None else before.num_timesteps)
    pid, pipe = fork(folder, step)
    early = rng.random() < 0.1  # some kills shall meet the resuming itself
    began = time.monotonic()
    alive = heard(pipe, rng.uniform(0.0, 0.3) if early else PATIENCE)
    if alive:
        counts.resumed += before is not None
        time.sleep(rng.uniform(0.0, 1.0))
    hangs = not alive and time.monotonic() - began > PATIENCE
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(pipe)
    if not os.WIFSIGNALED(status) or hangs:
        counts.failed += hangs or os.WEXITSTATUS(status) != 0
        return False
    counts.kills += 1
    counts.while_resuming += not alive and before is not None
    counts.while_writing += any(folder.glob(".writing-*"))
    after = last_manifest(folder, counts)
    if after is None:
        counts.before_first += 1
    else:
        counts.lost_steps.append(struct.unpack("q", step[:8])[0] - after.num_timesteps)
    return True


def inject(kills: int, seed: int, counts: Counts) -> None:
    """Kill trainings until there are enough, then let the last one go on."""
    rng, step = random.Random(seed), mmap.mmap(-1, 8)
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        while counts.kills < kills and counts.failed == 0:
            if not one_kill(Path(folder) / str(number), step, rng, counts):
                number += 1
        pid, pipe = fork(Path(folder) / str(number), step)
        counts.failed += not heard(pipe, PATIENCE)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def record(counts: Counts, command: str) -> dict[str, object]:
    """The row of the table of faults."""
    packages = {name: version(name) for name in ("stable-baselines3", "torch", "numpy", "gymnasium")}
    return {
        "fault": "SIGKILL of a training with `TrainingCheckpoint`",
        "how": f"at a random moment; a checkpoint every {EVERY} steps of {N_ENVS} PlanarChain environments; "
        "the next process resumes",
        "count": counts.kills,
        "outcome": f"{counts.unreadable} unreadable checkpoints, {counts.failed} failed resumes of {counts.resumed}; "
        f"{counts.while_writing} kills fell into the writing of a checkpoint, {counts.while_resuming} into resuming, "
        f"{counts.before_first} before the first checkpoint",
        "lost": f"at most {max(counts.lost_steps, default=0)} environment steps, those since the last checkpoint",
        "command": command,
        "versions": {"sb3-qflex": sb3_qflex.__version__, **packages},
        "date": date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    new_model().learn(40)  # imports what torch imports at the first update
    counts = Counts()
    try:
        inject(args.kills, args.seed, counts)
    except KeyboardInterrupt:
        print("Interrupted: the kills so far.")
    row = record(counts, f"PYTHONPATH=tests python tests/robustness/inject_kills.py --kills {args.kills}")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(row, indent=1) + "\n")
    print("| " + " | ".join(str(row[key]) for key in ("fault", "how", "count", "outcome", "lost")) + " |")
    if counts.unreadable or counts.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
