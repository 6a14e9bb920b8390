"""
SIGKILL a worker of a ``WorkerVecEnv`` at random moments:
``PYTHONPATH=tests python tests/robustness/inject_worker_kills.py --kills 100``.

Each time the main process shall get a ``WorkerDiedError`` at once, and neither processes nor blocks of shared memory
shall be left. The moment falls anywhere: while environments are built, in a reset, a step or another request.
"""

import argparse
import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from helpers.injection_record import FOLDER, write_record
from helpers.process_watch import mapped_blocks, segments, wait_until_gone
from helpers.vec_env_samples import sample_envs

from sb3_qflex.vec_env import WorkerDiedError, WorkerVecEnv

N_ENVS = 6
_LATEST_KILL = 0.15
_WHILE_BUILDING = 0.2
_HANGS_AFTER = 30


class HangError(BaseException):
    """The main process waits for a worker that is gone."""


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise :class:`HangError` when the block takes longer."""

    def ring(*_: object) -> None:
        raise HangError

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


class Killer(threading.Thread):
    """
    Waits, and then kills one of the new children of this process, as soon as there is one.

    :param generator: Draws the moment, from the start of building or (mostly, since building takes long) from its
        end, and the victim
    """

    def __init__(self, generator: random.Random):
        super().__init__(daemon=True)
        self.generator = generator
        self.delay = generator.uniform(0.0, _LATEST_KILL)
        self.begin = threading.Event()
        if generator.random() < _WHILE_BUILDING:
            self.begin.set()
        self.others = children()
        self.seen: set[int] = set()

    def run(self) -> None:
        self.begin.wait()
        time.sleep(self.delay)
        while not (new := children() - self.others):
            time.sleep(0.001)
        self.seen |= new
        os.kill(self.generator.choice(sorted(new)), signal.SIGKILL)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def use_until_it_dies(start_method: str, n_workers: int, killer: Killer, doing: list[str]) -> None:
    """Build environments and use them without end; ``doing`` tells what was asked for last."""
    doing.append("building")
    env = WorkerVecEnv(sample_envs(N_ENVS), n_workers, start_method)
    killer.begin.set()
    actions = np.zeros((N_ENVS, 2), np.float32)
    while True:
        doing.append("reset")
        env.reset()
        for _ in range(5):
            doing.append("step")
            env.step(actions)
        doing.append("get_attr")
        env.get_attr("level")


def inject(kills: int, seed: int = 0, start_method: str = "fork") -> dict[str, object]:
    """
    :param kills: How many workers to kill, each in a VecEnv of its own
    :param seed: Of the moments and the victims
    :param start_method: Of the workers
    :return: How often it happened during what, and numbers of hangs, orphans and leaked blocks of memory
    """
    generator = random.Random(seed)
    moments: Counter[str] = Counter()
    hangs = orphans = 0
    blocks, mapped = segments(), mapped_blocks()
    for _ in range(kills):
        killer, doing = Killer(generator), []
        killer.start()
        try:
            with alarm(_HANGS_AFTER):
                use_until_it_dies(start_method, generator.randint(1, 3), killer, doing)
        except WorkerDiedError:
            moments[doing[-1]] += 1
        except HangError:
            hangs += 1
        killer.join()
        orphans += len(wait_until_gone(sorted(children() - killer.others | killer.seen)))
    # Blocks mapped by a VecEnv that an exception's traceback still holds are freed with it.
    leaked = len(segments() - blocks) + max(mapped_blocks() - mapped, 0)
    return {"moments": dict(moments), "hangs": hangs, "orphans": orphans, "leaked": leaked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-method", default="fork")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the JSON file")
    arguments = parser.parse_args()
    result = inject(arguments.kills, arguments.seed, arguments.start_method)
    bad = {name: result[name] for name in ("hangs", "orphans", "leaked")}
    moments = ", ".join(f"{count} in {name}" for name, count in sorted(result["moments"].items()))  # type: ignore
    path = write_record(
        "worker_kills",
        arguments.out,
        fault="A worker of a VecEnv is killed",
        how=f"SIGKILL of a random WorkerVecEnv worker at a random moment ({moments})",
        count=arguments.kills,
        outcome=f"{sum(result['moments'].values())} clear errors; "  # type: ignore[attr-defined]
        + ", ".join(f"{count} {name}" for name, count in bad.items()).replace("leaked", "leaked blocks of memory"),
        lost="the environments of that VecEnv; model and buffer stay in the main process",
        **result,
    )
    print(path.read_text())
    raise SystemExit(1 if any(bad.values()) else 0)


if __name__ == "__main__":
    main()
