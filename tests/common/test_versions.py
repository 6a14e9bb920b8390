"""A saved model says under which versions it was saved, and models of earlier versions of ours still load."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.places import TESTS
from helpers.small_models import BoxEnv, small_model

from sb3_qflex import QFlex
from sb3_qflex.common.versions import VersionWarning, describe_versions, differences

FIXTURES = sorted((TESTS / "fixtures").glob("qflex_*.zip"))


def test_there_is_a_fixture() -> None:
    assert "qflex_0.1.0.zip" in [path.name for path in FIXTURES]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::sb3_qflex.common.versions.VersionWarning")
def test_models_of_earlier_versions(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())
    model = QFlex.load(path, env=BoxEnv(), device="cpu")
    actions = model.predict(np.array(expected["observations"], np.float32), deterministic=True)[0]
    # Other versions of torch may sum in another order.
    np.testing.assert_allclose(actions, expected["actions"], atol=1e-5)
    assert model._n_updates == expected["n_updates"]
    with pytest.warns(UserWarning, match="without its replay buffer"):
        model.learn(30)
    assert model._n_updates > expected["n_updates"]


def test_versions_are_saved_and_differences_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.zip"
    with monkeypatch.context() as patch:
        then = {**describe_versions(), "torch": "1.0.7", "mujoco": "2.9", "gone": "1.0"}
        patch.setattr("sb3_qflex.common.off_policy.describe_versions", lambda: then)
        small_model(BoxEnv()).save(path)
    with pytest.warns(VersionWarning) as caught:
        model = QFlex.load(path, device="cpu")
    (message,) = [str(warning.message) for warning in caught if warning.category is VersionWarning]
    assert f"torch 1.0.7 (now {describe_versions()['torch']})" in message and "gone" not in message
    assert caught[0].filename == __file__
    assert model.saved_versions["torch"] == "1.0.7"
    # Saved again, it is one of the present versions.
    model.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", VersionWarning)
        assert QFlex.load(path, device="cpu").saved_versions == describe_versions()


def test_sb3s_own_record_serves_where_ours_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(BoxEnv())
    monkeypatch.setattr(
        "stable_baselines3.common.save_util.get_system_info", lambda print_info: ({}, "- PyTorch: 1.2.3+cpu\n")
    )
    model.save(tmp_path / "model", exclude=["saved_versions"])
    with pytest.warns(VersionWarning, match=r"torch 1.2.3\+cpu \(now "):
        QFlex.load(tmp_path / "model", device="cpu")


def test_only_the_first_two_numbers_count() -> None:
    assert differences({"a": "1.2.3", "b": "2.13.0+cpu", "c": "1"}, {"a": "1.2.9", "b": "2.13.1+cu130"}) == []
    assert differences({"a": "1.2.3"}, {"a": "1.3.0"}) == ["a 1.2.3 (now 1.3.0)"]
    assert differences({"a": "1.2"}, {"a": "2.2"}) == ["a 1.2 (now 2.2)"]
