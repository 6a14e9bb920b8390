"""Registration, the list command, discovery of models and its errors."""

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import gymnasium as gym
import pytest
from helpers.envs_assets import BODIES, ENTRIES, make, needs, parametrize

from sb3_qflex.cli import main as command
from sb3_qflex.envs import CATALOGUE, models, register_envs
from sb3_qflex.envs.models import AssetNotFoundError


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """Neither assets folder nor packages that bring a body, and an empty Menagerie cache."""
    monkeypatch.setenv("SB3_QFLEX_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    return tmp_path / "assets"


def test_every_id_is_registered_and_registering_again_changes_nothing():
    before = {entry.id: gym.registry[entry.id] for entry in CATALOGUE}
    register_envs()
    assert all(gym.registry[name] is spec for name, spec in before.items())
    assert len(before) == 11


def test_import_needs_neither_torch_nor_a_simulator():
    code = (
        "import sys, sb3_qflex.envs, gymnasium; gymnasium.make('PlanarChain-v0', n_links=3).reset(); "
        "print([name for name in ('torch', 'mujoco', 'myosuite', 'stable_baselines3', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_list_without_anything_says_why_and_what_to_do(nothing_installed, capsys):
    assert command.main(["envs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    assert set(ENTRIES) <= set(rows)
    here = {name: rows[name].split("|")[-2].strip() for name in ENTRIES}
    assert here.pop("PlanarChain-v0") == "yes"
    assert set(here.values()) == {"no"}
    reasons = {line.split(": ", 1)[0]: line for line in lines if ": " in line}
    assert set(reasons) == set(here)
    assert "pip install myosuite" in reasons["MyoLegWalk-v0"]


def test_list_row_shows_sizes_bounds_length_and_licence(nothing_installed, capsys):
    command.main(["envs", "list"])
    row = next(line for line in capsys.readouterr().out.splitlines() if "SMPLHumanoidJump-v0" in line)
    assert [cell.strip() for cell in row.split("|")[2:7]] == ["358", "69", "[-1, 1]", "300", "CC BY-NC 4.0"]


@parametrize(BODIES)
def test_list_with_assets_says_yes(entry, capsys):
    command.main(["envs", "list"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"| {entry.id} "))
    assert row.split("|")[-2].strip() == "yes"


def test_list_command_runs_as_a_module():
    command = [sys.executable, "-m", "sb3_qflex", "envs", "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    assert "PlanarChain-v0" in result.stdout


@pytest.mark.parametrize(
    "arguments", [["list", "--ids", "Nope-v0"], ["speed", "--ids", "Nope-v0"], ["speed", "--steps", "0"]]
)
def test_bad_command_lines_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(["envs", *arguments])
    assert "error:" in capsys.readouterr().err


def benchmark_cells(text, name):
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [float(cell.split()[0]) for cell in row.split("|")[2:-1]]


def test_benchmark_prints_a_table(capsys):
    arguments = ["envs", "speed", "--ids", "PlanarChain-v0", "--steps", "60", "--rounds", "1"]
    assert command.main(arguments) == 0
    text = capsys.readouterr().out
    assert "`sb3-qflex envs speed --ids PlanarChain-v0 --steps 60 --rounds 1`" in text
    speed, milliseconds, megabytes = benchmark_cells(text, "PlanarChain-v0")
    assert speed > 0 and milliseconds > 0 and megabytes >= 0
    assert benchmark_cells(text, "PlanarChainVecEnv(256)")[0] > 0


@needs("H1Run-v0")
def test_benchmark_writes_a_page_that_compares_a_body_with_mujoco_alone(tmp_path, capsys):
    arguments = ["envs", "speed", "--ids", "H1Run-v0", "--steps", "30", "--rounds", "1", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    page = tmp_path / "environments-speed.md"
    environment, alone, ratio, *_ = benchmark_cells(page.read_text(), "H1Run-v0")
    assert ratio == pytest.approx(alone / environment, rel=0.01)
    page.write_text("edited")
    with pytest.raises(SystemExit, match="edited since"):
        command.main(arguments)
    assert page.read_text() == "edited"


def test_benchmark_names_what_it_skips(nothing_installed, capsys):
    command.main(["envs", "speed", "--ids", "H1Run-v0"])
    assert "Skipped: H1Run-v0, which cannot be made here." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asset", "licence", "repository"),
    [
        (models.H1_RUN, "MIT", "carlosferrazza/humanoid-bench"),
        (models.SMPL_HUMANOID, "CC BY-NC 4.0", "facebookresearch/humenv"),
        (models.OSTRICH, "MIT", "vittorione94/ostrichrl"),
        (models.MS_HUMAN_700, "Apache-2.0", "LNSGroup/MS-Human-700"),
        (models.WALKING_MOTION, "Apache-2.0", "LNSGroup/msgym"),
    ],
)
def test_missing_asset_error_names_licence_source_and_remedy(nothing_installed, asset, licence, repository):
    with pytest.raises(AssetNotFoundError) as caught:
        asset.find()
    message = str(caught.value)
    for part in (asset.name, licence, f"git clone https://github.com/{repository}", "SB3_QFLEX_ASSETS", asset.argument):
        assert part in message
    assert ("pip install mujoco-menagerie" in message) is (asset is models.MS_HUMAN_700)


def test_missing_variable_is_said(nothing_installed, monkeypatch):
    monkeypatch.delenv("SB3_QFLEX_ASSETS")
    with pytest.raises(AssetNotFoundError, match=r"export SB3_QFLEX_ASSETS=.*&& git clone .* is not set"):
        models.OSTRICH.find()


def test_environment_raises_the_same_error(nothing_installed):
    with pytest.raises(AssetNotFoundError, match="ostrich of OstrichRL was not found"):
        make("OstrichRun-v0")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("<mujoco/>")
    return path.resolve()


def test_order_argument_folder_clone_package(nothing_installed, tmp_path, monkeypatch):
    installed = touch(tmp_path / "site" / "humanoid_bench" / "assets" / "envs" / "h1_pos_walk.xml")
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path / "site" / "humanoid_bench")])
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: spec if name == "humanoid_bench" else None)
    assert models.H1_RUN.find() == installed
    clone = touch(nothing_installed / "humanoid-bench" / "humanoid_bench" / "assets" / "envs" / "h1_pos_walk.xml")
    assert models.H1_RUN.find() == clone
    folder = touch(nothing_installed / "h1" / "envs" / "h1_pos_walk.xml")
    assert models.H1_RUN.find() == folder
    given = touch(tmp_path / "mine" / "h1.xml")
    assert models.H1_RUN.find(given) == given


def test_argument_that_is_no_file_is_refused_even_if_the_model_is_elsewhere(tmp_path):
    with pytest.raises(AssetNotFoundError, match=r"model_path='.*nowhere\.xml' is not a file"):
        models.H1_RUN.find(tmp_path / "nowhere.xml")


def test_a_package_of_the_same_name_without_the_model_is_passed_over(nothing_installed, tmp_path, monkeypatch):
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: spec if name == "humenv" else None)
    assert models.SMPL_HUMANOID.local() is None


@needs("MSHuman700Walk-v0")
def test_menagerie_serves_the_body_from_a_checkout(monkeypatch, tmp_path):
    pytest.importorskip("mujoco_menagerie")
    own = models.MS_HUMAN_700.find().parent
    shutil.copytree(own, tmp_path / "ms_human_700")
    shutil.copy(own / "MS-Human-700.xml", tmp_path / "ms_human_700" / "scene.xml")
    monkeypatch.setenv("SB3_QFLEX_ASSETS", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    assert models.MS_HUMAN_700.find() == (tmp_path / "ms_human_700" / "scene.xml").resolve()


def test_menagerie_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.setenv("SB3_QFLEX_ASSETS", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MENAGERIE_BASE_URL", (tmp_path / "no-network").as_uri())
    assert models.MS_HUMAN_700.local() is None
    assert models.menagerie_offers(models.MS_HUMAN_700)
    with pytest.raises(AssetNotFoundError, match="set MENAGERIE_ROOT to a checkout"):
        models.MS_HUMAN_700.find()


@needs("H1Run-v0")
def test_another_model_is_refused():
    with pytest.raises(ValueError, match=r"is not the Unitree H1 walking scene .* \(33, 31, 19\)"):
        make("H1Run-v0", model_path=models.H1_BALANCE.find())


@needs("H1Run-v0")
def test_a_changed_file_is_compiled_again(tmp_path):
    path = tmp_path / "pendulum.xml"
    for gravity in ("-9.81", "-1.62"):
        path.write_text(f"<mujoco><option gravity='0 0 {gravity}'/></mujoco>")
        os.utime(path, ns=(int(abs(float(gravity)) * 1e9),) * 2)
        assert models.compiled_model(path, 0.001).opt.gravity[2] == pytest.approx(float(gravity))
    assert models.compiled_model(path, 0.001).opt.timestep == 0.001
