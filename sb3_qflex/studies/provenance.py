"""What a run was made with and on."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from sb3_qflex.common.machine import describe_machine, describe_versions

_CODE = Path(__file__).parents[1]


def provenance() -> dict[str, Any]:
    """:return: versions, git revision of the code (None outside a checkout) and hardware"""
    return {"versions": describe_versions(), "git": git_revision(_CODE), "machine": describe_machine(threads=1)}


def git_revision(code: Path) -> dict[str, Any] | None:
    """
    :param code: folder of the package
    :return: "revision" and whether tracked files differ from it ("dirty"); None where the code is in no checkout
    """
    if shutil.which("git") is None or not (code.parent / ".git").exists():
        return None

    def git(*words: str) -> str:
        answer = subprocess.run(["git", "-C", code.parent, *words], capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", code.name, "hyperparams")
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except subprocess.CalledProcessError:
        return None
