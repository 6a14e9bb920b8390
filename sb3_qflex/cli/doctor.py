"""``sb3-qflex doctor``: what works here, what is missing, and the line that installs it."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

#: Extras for users, and what they are for.
_EXTRAS = {
    "myosuite": "MyoSuite's tasks",
    "envs": "the paper's other bodies, videos",
    "export": "ONNX files",
    "study": "reports of studies",
    "ray": "many machines",
}


def main(prog: str, argv: Sequence[str]) -> int:
    """Print what is here; 1 if something that the core needs is broken."""
    text = (
        "Print versions, device and threads, whether the core works, which environments and extras are here, and the "
        "line that installs what is missing. Ends with 1 if the core is broken."
    )
    argparse.ArgumentParser(prog, description=text).parse_args(argv)
    from sb3_qflex.common.versions import describe_versions

    _print("Versions", (f"{name} {number}" for name, number in describe_versions().items()))
    faults = [*_unmet(None)] or [*_core_faults()]
    _print("Core", faults or ["works: QFlex was made, acted, and took a gradient step"])
    if not faults:
        _print("Machine", _machine())
        _print("RL Zoo", [_startup_hook()])
        _print("Environments", _environments())
    for extra, purpose in _EXTRAS.items():
        _print(f"Extra {extra} ({purpose})", [*_unmet(extra)] or ["complete"])
    return 1 if faults else 0


def _print(title: str, lines: Sequence[str] | Iterator[str]) -> None:
    print(f"{title}:", *lines, sep="\n  ")


def _unmet(extra: str | None) -> Iterator[str]:
    """Requirements of the package (None), or of one of its extras, that are not met, with what to do."""
    try:
        wanted = [Requirement(text) for text in requires("sb3-qflex") or ()]
    except PackageNotFoundError:
        # A checkout that nobody installed: whether it works is seen when it is tried.
        wanted = []
    for one in wanted:
        is_of_extra = one.marker is not None and "extra" in str(one.marker)
        if is_of_extra != (extra is not None) or (one.marker and not one.marker.evaluate({"extra": extra or ""})):
            continue
        name = f"{one.name}[{','.join(sorted(one.extras))}]" if one.extras else one.name
        line = f"pip install {shlex.quote(f'{name}{one.specifier}')}"
        try:
            found = version(one.name)
        except PackageNotFoundError:
            yield f"{one.name} is not installed: {line}"
            continue
        if not one.specifier.contains(found, prereleases=True):
            yield f"{one.name} {found} is here, needed is {one.specifier}: {line}"


def _core_faults() -> Iterator[str]:
    try:
        from sb3_qflex.qflex.qflex import QFlex

        model = QFlex("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, learning_starts=2, batch_size=2)
        model.learn(4)
    except Exception as error:  # whatever is broken is what is to be said
        yield f"{type(error).__name__}: {error}"


def _machine() -> Iterator[str]:
    import torch as th
    from stable_baselines3.common.utils import get_device

    from sb3_qflex.common.machine import describe_machine

    device = get_device("auto")
    yield f"device: {device}" + (f" ({th.cuda.get_device_name(device)})" if device.type == "cuda" else "")
    yield from (f"{name}: {value}" for name, value in describe_machine(th.get_num_threads()).items())


def _startup_hook() -> str:
    if os.environ.get("SB3_QFLEX_ZOO", "1") == "0":
        return "start-up hook: turned off by SB3_QFLEX_ZOO=0; `sb3-qflex train` works, `rl_zoo3 train` knows no qflex"
    if "_sb3_qflex_startup" in sys.modules:
        return "start-up hook: active, `rl_zoo3 train --algo qflex` works"
    return "start-up hook: not installed (a checkout, or an editable install): `sb3-qflex train`, or pip install ."


def _environments() -> Iterator[str]:
    from sb3_qflex.envs.catalogue import CATALOGUE

    for entry in CATALOGUE:
        reason = entry.missing()
        yield f"{entry.id}: {reason or ('found after a download' if entry.downloads() else 'found')}"
