"""The finder that waits for RL Zoo, and the files an install puts into site-packages."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sb3_qflex.zoo import registration, startup

FILE = Path(startup.__file__)
REPOSITORY = FILE.parents[2]

# A stand-in for RL Zoo with the module names that are watched, so that these tests need no torch.
FAKE_ZOO = {
    "rl_zoo3/__init__.py": "from rl_zoo3.utils import ALGOS",
    "rl_zoo3/utils.py": "ALGOS = {'sac': 1}",
    "rl_zoo3/hyperparams_opt.py": "",
    "rl_zoo3/import_envs.py": "",
    "rl_zoo3/exp_manager.py": "",
    "sb3_qflex/__init__.py": "",
    "sb3_qflex/zoo/__init__.py": "",
    "sb3_qflex/zoo/registration.py": "def extend(module): print('extend', module.__name__, sorted(vars(module))[0])",
}


@pytest.fixture
def fake_zoo(tmp_path: Path) -> Iterator[Path]:
    for name, text in FAKE_ZOO.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "_sb3_qflex_startup.py").write_text(FILE.read_text())
    yield tmp_path


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # -S: no site-packages, so an installed sb3-qflex takes no part.
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=folder,
    )


START = "import _sb3_qflex_startup as startup; startup.install()\n"
WAITING = "print(sum(type(f).__name__ == 'AfterImport' for f in sys.meta_path))"


def test_watches_the_modules_that_registration_extends() -> None:
    assert set(startup.WATCHED) == set(registration.EXTENSIONS)


def test_extends_after_the_real_import(fake_zoo: Path) -> None:
    done = run_python(START + "import rl_zoo3; print(rl_zoo3.ALGOS)", fake_zoo)
    # ALGOS is the first name of the module, so its own code has run by then.
    assert done.stdout.splitlines() == ["extend rl_zoo3.utils ALGOS", "{'sac': 1}"], done.stderr


def test_finder_leaves_after_the_last_module(fake_zoo: Path) -> None:
    imports = "import rl_zoo3.hyperparams_opt, rl_zoo3.import_envs\n" + WAITING + "\nimport rl_zoo3.exp_manager\n"
    done = run_python(START + imports + WAITING, fake_zoo)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("extend")]
    assert lines == ["1", "0"], done.stderr
    assert done.stdout.count("extend") == len(startup.WATCHED)


def test_module_keeps_its_ordinary_loader(fake_zoo: Path) -> None:
    code = "import rl_zoo3.utils as u; print(type(u.__loader__).__name__, vars(u.__loader__).keys())"
    done = run_python(START + code, fake_zoo)
    assert done.stdout.splitlines()[-1] == "SourceFileLoader dict_keys(['name', 'path'])", done.stderr


def test_turned_off(fake_zoo: Path) -> None:
    done = run_python(START + WAITING + "\nimport rl_zoo3", fake_zoo, SB3_QFLEX_ZOO="0")
    assert done.stdout.splitlines() == ["0"], done.stderr


def test_installs_once(fake_zoo: Path) -> None:
    assert run_python(START + START + WAITING, fake_zoo).stdout.splitlines() == ["1"]


def test_failed_registration_warns_and_leaves_rl_zoo_usable(fake_zoo: Path) -> None:
    (fake_zoo / "sb3_qflex/zoo/registration.py").write_text("raise OSError('no such luck')")
    done = run_python(START + "import rl_zoo3; print(rl_zoo3.ALGOS)", fake_zoo)
    assert done.stdout.splitlines() == ["{'sac': 1}"]
    assert "could not add itself to rl_zoo3.utils" in done.stderr and "OSError: no such luck" in done.stderr


def test_failed_import_of_rl_zoo_is_its_own_error_and_can_be_repeated(fake_zoo: Path) -> None:
    (fake_zoo / "rl_zoo3/utils.py").write_text(
        "import sys\nif not hasattr(sys, 'again'): raise KeyError('zoo')\nALGOS = {}"
    )
    code = "try: import rl_zoo3\nexcept KeyError as e: print(e)\nsys.again = True; import rl_zoo3"
    done = run_python(START + code, fake_zoo)
    assert done.stdout.splitlines() == ["'zoo'", "extend rl_zoo3.utils ALGOS"], done.stderr


def test_missing_rl_zoo_is_an_ordinary_import_error(tmp_path: Path) -> None:
    (tmp_path / "_sb3_qflex_startup.py").write_text(FILE.read_text())
    done = run_python(START + "import rl_zoo3.utils", tmp_path)
    assert "ModuleNotFoundError: No module named 'rl_zoo3'" in done.stderr


def test_start_imports_the_standard_library_only_and_next_to_nothing(fake_zoo: Path) -> None:
    code = "import os; before = set(sys.modules)\n" + START + "print(sorted(set(sys.modules) - before))"
    assert run_python(code, fake_zoo).stdout.strip() == "['_sb3_qflex_startup']"


def test_wheel_root_has_the_two_files(tmp_path: Path) -> None:
    if not (REPOSITORY / "setup.py").is_file():
        pytest.skip("needs a checkout")
    pytest.importorskip("setuptools")
    command = ["setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "build_py", "-d", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "_sb3_qflex_startup.py").read_text() == FILE.read_text()
    assert (tmp_path / "sb3_qflex_zoo.pth").read_text() == "import _sb3_qflex_startup; _sb3_qflex_startup.install()\n"
    assert (tmp_path / "sb3_qflex/hyperparams/small/qflex.yml").is_file()


@pytest.mark.skipif(
    importlib.util.find_spec("_sb3_qflex_startup") is None, reason="sb3-qflex is not installed (or editable only)"
)
def test_installed_unrelated_process_imports_one_file_of_ours(tmp_path: Path) -> None:
    code = "import sys; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'stable_baselines3', 'rl_zoo3')"
    code += " or 'sb3_qflex' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "['_sb3_qflex_startup']"
