"""``sb3-qflex synergies ENV``: groups of muscles that move together, as JSON and a picture."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.cli.arguments import positive, told


def main(prog: str, argv: Sequence[str]) -> None:
    """Record, cluster, write the files and print where they are."""
    parser = argparse.ArgumentParser(
        prog,
        description="Find groups of muscles whose lengths move together when joints move at random (DynSyn, "
        "arXiv 2407.11472), for SynergyActions and the dynsyn_* algorithms.",
    )
    add = parser.add_argument
    add("env", metavar="ENV", help="id of an environment on a MuJoCo model with muscles")
    add("-k", type=positive, required=True, help="number of groups; the paper has about half as many as muscles")
    add("--steps", type=positive, default=500_000, help="of the recording (default: %(default)s, the paper's)")
    add("--seed", type=int, default=0, help="of the recording and the clustering (default: %(default)s)")
    amplitude = "largest joint velocity; the paper: 10 legs, 100 hand, 5 whole body and arm (default: %(default)s)"
    add("--amplitude", type=float, default=10.0, help=amplitude)
    lift = "vertical velocity in m/s that keeps a body that can fall where it is (default: %(default)s)"
    add("--lift", type=float, default=0.1, help=lift)
    add("--out", type=Path, default=Path("groups.json"), help="JSON file, a picture beside it (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace both files where they are there")
    chosen = parser.parse_args(argv)
    with told(ValueError, ImportError, OSError):
        _find(chosen, f"{prog} {shlex.join(argv)}")


def _find(chosen: argparse.Namespace, command: str) -> None:
    import gymnasium as gym
    import rl_zoo3.import_envs  # noqa: F401 registers ids

    from sb3_qflex.envs.synergies import finder
    from sb3_qflex.envs.synergies.recording import Motion

    if chosen.out.suffix != ".json":
        raise ValueError(f"--out {chosen.out} has to end with .json, by which `groups` knows a file from a preset.")
    there = [path for path in (chosen.out, chosen.out.with_suffix(".png")) if path.exists() and not chosen.overwrite]
    if there:
        raise ValueError(f"{' and '.join(map(str, there))} would be replaced: choose another --out, or --overwrite.")
    try:
        env = gym.make(chosen.env)
    except gym.error.Error as error:
        raise ValueError(str(error)) from error
    found = finder.synergies(env, chosen.k, chosen.steps, chosen.seed, Motion(chosen.amplitude, chosen.lift))
    for group in found["groups"]:
        print(*(found["actuators"][index] for index in group))
    print("Wrote", *finder.write(found, chosen.out, command))
