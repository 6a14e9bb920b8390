"""
Train for a long time on a small task, and watch what the process holds:
``PYTHONPATH=tests python tests/robustness/soak.py``.

Resident memory after the buffer is full and at the end shall differ by less than 2 %, and the numbers of file
descriptors and of blocks of shared memory shall not change. ``--vec-env worker`` steps the environments in workers.
"""

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import psutil
import torch as th
from helpers.injection_record import FOLDER, write_record
from helpers.process_watch import mapped_blocks, segments
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex import QFlex
from sb3_qflex.envs.planar_chain import PlanarChain
from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
from sb3_qflex.vec_env import WorkerVecEnv

N_LINKS = 10
ALLOWED_GROWTH = 0.02
_SAMPLES = 200


class Watch(BaseCallback):
    """
    Samples what the process holds.

    :param every: Vector steps between two samples
    :param minutes: After which training ends early
    """

    def __init__(self, every: int, minutes: float):
        super().__init__()
        self.every = every
        self.deadline = time.monotonic() + 60.0 * minutes
        self.samples: list[dict[str, int]] = []

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0:
            self.samples.append({"steps": self.num_timesteps, "updates": self.model._n_updates, **holdings()})
        return time.monotonic() < self.deadline


def holdings() -> dict[str, int]:
    """Resident bytes, open file descriptors and blocks of shared memory (named and mapped ones) of this process."""
    process = psutil.Process()
    return {
        "rss": process.memory_info().rss,
        "fds": process.num_fds(),
        "shared_memory": len(segments()) + mapped_blocks(),
        "children": len(process.children(recursive=True)),
    }


def make_env(kind: str, n_envs: int) -> VecEnv:
    """
    :param kind: "array" for the vectorised chain, "worker" for single ones in worker processes
    :param n_envs: Number of environments
    """
    if kind == "array":
        return PlanarChainVecEnv(n_envs, N_LINKS)
    return make_vec_env(lambda: PlanarChain(N_LINKS), n_envs, vec_env_cls=WorkerVecEnv)


def soak(
    kind: str, updates: int, n_envs: int, gradient_steps: int, buffer_size: int, minutes: float = math.inf
) -> dict[str, Any]:
    """
    Train, and compare the process after the buffer was filled with its end.

    :param kind: See :func:`make_env`
    :param updates: Gradient steps
    :param n_envs: Environments
    :param gradient_steps: Updates for each vector step
    :param buffer_size: Transitions of the replay buffer, far fewer than the run collects
    :param minutes: After which the run ends early
    :return: Samples, growth of resident memory, and whether the other numbers stayed the same
    """
    env = make_env(kind, n_envs)
    vector_steps = updates // gradient_steps
    watch = Watch(max(vector_steps // _SAMPLES, 1), minutes)
    model = QFlex(
        "MlpPolicy",
        env,
        buffer_size=buffer_size,
        learning_starts=0,
        batch_size=32,
        gradient_steps=gradient_steps,
        flow_steps=2,
        guidance_steps=2,
        policy_kwargs={"net_arch": [16]},
        seed=0,
        device="cpu",
    )
    model.learn(vector_steps * n_envs, callback=watch)
    env.close()
    full = [sample for sample in watch.samples if sample["steps"] > buffer_size]
    growth = full[-1]["rss"] / full[0]["rss"] - 1.0
    constant = {name: len({sample[name] for sample in full}) == 1 for name in ("fds", "shared_memory", "children")}
    return {
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "growth": growth,
        "rss_when_full": full[0]["rss"],
        "rss_at_end": full[-1]["rss"],
        "constant": constant,
        "passed": abs(growth) < ALLOWED_GROWTH and all(constant.values()),
        "samples": watch.samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=200_000)
    parser.add_argument("--n-envs", type=int, default=20)
    parser.add_argument("--gradient-steps", type=int, default=4, help="updates for each vector step")
    parser.add_argument("--buffer-size", type=int, default=50_000)
    parser.add_argument("--vec-env", choices=["array", "worker"], default="array")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end early; the file says what was done")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the JSON file")
    arguments = parser.parse_args()
    th.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    result = soak(
        arguments.vec_env,
        arguments.updates,
        arguments.n_envs,
        arguments.gradient_steps,
        arguments.buffer_size,
        arguments.minutes,
    )
    changed = [name for name, same in result["constant"].items() if not same]
    mib = [result[name] / 2**20 for name in ("rss_when_full", "rss_at_end")]
    path = write_record(
        "soak" if arguments.vec_env == "array" else "soak_workers",
        arguments.out,
        fault="Growth over a long run" + ("" if arguments.vec_env == "array" else ", environments in worker processes"),
        how=f"{result['steps']:,} environment steps and {result['updates']:,} updates on PlanarChain-{N_LINKS}",
        count=1,
        outcome=f"resident memory {mib[0]:.1f} MiB with the buffer full, {mib[1]:.1f} MiB at the end "
        f"({100 * result['growth']:+.2f} %); "
        + (f"changed: {', '.join(changed)}" if changed else "file descriptors and shared memory constant"),
        lost="nothing" if result["passed"] else "flat memory",
        **result,
    )
    print(path.read_text() if not result["passed"] else f"{path}: {mib[0]:.1f} -> {mib[1]:.1f} MiB, all constant")
    raise SystemExit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
