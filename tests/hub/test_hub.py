"""Sharing on the Hugging Face Hub, with its network calls replaced: what is uploaded, and what comes back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.zoo_runs import ENV, write_run
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError

from sb3_qflex import QFlex, QFlexPolicy
from sb3_qflex.cli import main as command
from sb3_qflex.hub import sharing

ARGUMENTS = ("--algo", "qflex", "--env", ENV, "-f", "logs", "-orga", "me")


class FakeHub:
    """The part of huggingface_hub that talks to the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.created: list[dict[str, Any]] = []

    def create_repo(self, **options: Any) -> str:
        self.created.append(options)
        return f"https://example.org/{options['repo_id']}"

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
        shutil.copytree(folder_path, self.folder / repo_id)

    def download(self, repo_id: str, filename: str, **_: Any) -> str:
        path = self.folder / repo_id / filename
        if not path.is_file():
            raise EntryNotFoundError(f"no {filename}")
        return str(path)


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    monkeypatch.chdir(tmp_path)
    # The command sets it; so does monkeypatch, which restores it.
    monkeypatch.setenv("TRUST_REMOTE_CODE", "False")
    fake = FakeHub(tmp_path / "remote")
    monkeypatch.setattr(sharing, "HfApi", lambda: fake)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake.download)
    return fake


@pytest.mark.parametrize("normalize", [False, True])
def test_there_and_back(normalize: bool, fake_hub: FakeHub, tmp_path: Path) -> None:
    run = write_run(tmp_path / "logs", normalize)
    push = ("push-to-hub", *ARGUMENTS, "--eval-episodes", "2", "-n", "3", "--private")
    command.main([*push, "--no-render"] if normalize else push)
    remote = tmp_path / f"remote/me/qflex-{ENV}"
    assert fake_hub.created == [{"repo_id": f"me/qflex-{ENV}", "private": True, "exist_ok": True}]
    expected = {f"qflex-{ENV}.zip", "README.md", "args.yml", "config.yml", "env_kwargs.yml", "policy.safetensors"}
    expected |= {"report.html", "results.json", "train_eval_metrics.zip"}
    expected |= {"vec_normalize.pkl"} if normalize else {"replay.mp4"}
    assert {path.name for path in remote.iterdir()} == expected

    command.main(["load-from-hub", *ARGUMENTS, "--trust"])
    loaded = tmp_path / f"logs/qflex/{ENV}_2"
    files = [f"{ENV}.zip", "0.monitor.csv", "evaluations.npz", "progress.csv", f"{ENV}/config.yml"]
    files += [f"{ENV}/vecnormalize.pkl"] if normalize else []
    for file in files:
        original = run / file
        if not file.endswith(".pkl"):
            assert (loaded / file).read_bytes() == original.read_bytes(), file
        assert (loaded / file).is_file()
    observation = np.linspace(-1.0, 1.0, 4, dtype=np.float32)
    action = QFlex.load(loaded / f"{ENV}.zip", device="cpu").predict(observation, deterministic=True)[0]
    policy = QFlexPolicy.load(remote / "policy.safetensors", device="cpu")
    np.testing.assert_allclose(policy.predict(observation, deterministic=True)[0], action, rtol=1e-6)


def test_the_card_says_what_it_is_and_how_good(fake_hub: FakeHub, tmp_path: Path) -> None:
    write_run(tmp_path / "logs", normalize=True)
    command.main(["push-to-hub", *ARGUMENTS, "--eval-episodes", "2", "--no-render", "--dry-run", "-name", "chain"])
    assert fake_hub.created == []
    folder = tmp_path / "hub/chain"
    results = json.loads((folder / "results.json").read_text())
    card = ModelCard.load(folder / "README.md")
    (result,) = card.data.eval_results
    assert card.data.model_name == "QFlex" and {"sb3-qflex", ENV} <= set(card.data.tags)
    assert (result.dataset_name, result.metric_type) == (ENV, "mean_reward")
    assert result.metric_value == f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}"
    assert results["n_eval_episodes"] == 2 and results["is_deterministic"]
    for text in (
        f"sb3-qflex load-from-hub --algo qflex --env {ENV} -orga me -name chain -f logs --trust",
        'hf_hub_download("me/chain", "policy.safetensors")',
        "load_vec_normalize(path, venv)",
        "- Stable-Baselines3: ",
        "- sb3-qflex (at upload): ",
        "'policy_kwargs': 'dict(net_arch=[16])'",
        "{'n_links': 3}",
    ):
        assert text in card.text
    assert yaml.safe_load((folder / "env_kwargs.yml").read_text()) == {"n_links": 3}
    assert str(tmp_path) not in (folder / "report.html").read_text()


def test_files_of_another_upload_are_not_mixed_in(fake_hub: FakeHub, tmp_path: Path, capsys: Any) -> None:
    write_run(tmp_path / "logs")
    other = tmp_path / f"hub/qflex-{ENV}/secret.txt"
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(SystemExit):
        command.main(["push-to-hub", *ARGUMENTS])
    assert "holds files already" in capsys.readouterr().err


def test_nothing_is_downloaded_without_trust(fake_hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"pickle\.load.*--trust"):
        command.main(["load-from-hub", *ARGUMENTS])
    assert not (tmp_path / "logs").exists()
