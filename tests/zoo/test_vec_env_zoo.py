"""The choice of a VecEnv in RL Zoo's experiments."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rl_zoo3 import exp_manager
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.train import train
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_qflex.vec_env import WorkerVecEnv
from sb3_qflex.zoo.vec_env import extend_manager, take_argument

ENTRY = {"policy": "MlpPolicy", "n_envs": 3, "n_timesteps": 60, "n_steps": 10, "batch_size": 30}


class Manager(ExperimentManager):
    """A class of the tests' own: the Zoo's is left alone."""


def manager_class() -> type[Manager]:
    return type("FreshManager", (Manager,), {})


def experiment(folder: Path, manager: type[Manager], entry: dict[str, Any], **kwargs: Any) -> Manager:
    config = folder / "ppo.yml"
    config.write_text(yaml.safe_dump({"Pendulum-v1": {**ENTRY, **entry}}))
    return manager(
        argparse.Namespace(), "ppo", "Pendulum-v1", str(folder / "logs"), config=str(config), verbose=0, **kwargs
    )


def inner(env: VecEnv | None) -> VecEnv:
    assert env is not None
    return env.unwrapped


def test_train_and_evaluate_from_yaml(tmp_path: Path) -> None:
    manager = manager_class()
    extend_manager(manager)
    entry = {"vec_env": "worker", "vec_env_kwargs": "dict(n_workers=2, start_method='fork')", "normalize": True}
    run = experiment(tmp_path, manager, entry, eval_freq=30, n_eval_episodes=1, log_interval=-1)
    model, saved = run.setup_experiment()  # type: ignore[misc]
    assert isinstance(inner(model.get_env()), WorkerVecEnv)
    run.learn(model)
    assert model.num_timesteps == 60
    # The config of the run keeps the choice; Monitor files are written by the workers.
    assert saved["vec_env"] == "worker"
    assert len(list(Path(run.save_path).glob("*.monitor.csv"))) == 3
    assert (Path(run.save_path) / "evaluations.npz").exists()


@pytest.mark.parametrize(
    "choice, entry, expected, kwargs",
    [
        (None, {}, DummyVecEnv, {}),
        (None, {"vec_env": "subproc"}, SubprocVecEnv, {}),
        (None, {"vec_env": "worker", "vec_env_kwargs": {"infos": "all"}}, WorkerVecEnv, {"infos": "all"}),
        ("worker", {"vec_env": "worker", "vec_env_kwargs": {"infos": "all"}}, WorkerVecEnv, {"infos": "all"}),
        ("worker", {"vec_env": "subproc", "vec_env_kwargs": {"start_method": "fork"}}, WorkerVecEnv, {}),
        ("dummy", {"vec_env": "worker", "vec_env_kwargs": {"n_workers": 2}}, DummyVecEnv, {}),
        (
            None,
            {"vec_env": "ray", "vec_env_kwargs": {"n_workers": 2}},
            WorkerVecEnv,
            {"backend": "ray", "n_workers": 2},
        ),
    ],
)
def test_the_command_line_wins(
    choice: str | None, entry: dict[str, Any], expected: type[VecEnv], kwargs: dict[str, Any], tmp_path: Path
) -> None:
    manager = manager_class()
    extend_manager(manager, choice)
    run = experiment(tmp_path, manager, entry)
    run._preprocess_hyperparams(run.read_hyperparameters()[0])
    assert (run.vec_env_class, run.vec_env_kwargs) == (expected, kwargs)


def test_the_zoos_own_choice_stays(tmp_path: Path) -> None:
    manager = manager_class()
    extend_manager(manager)
    run = experiment(tmp_path, manager, {}, vec_env_type="subproc")
    run._preprocess_hyperparams(run.read_hyperparameters()[0])
    assert run.vec_env_class is SubprocVecEnv


def test_evaluation_does_not_wait_for_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[dict[str, Any]] = []

    def recording_make_vec_env(*args: Any, **kwargs: Any) -> VecEnv:
        built.append(kwargs["vec_env_kwargs"])
        return make_vec_env(*args, **kwargs)

    monkeypatch.setattr(exp_manager, "make_vec_env", recording_make_vec_env)
    manager = manager_class()
    extend_manager(manager)
    extend_manager(manager)
    run = experiment(tmp_path, manager, {"vec_env": "ray", "vec_env_kwargs": {"ray_options": {"num_cpus": 2}}})
    run._preprocess_hyperparams(run.read_hyperparameters()[0])
    env = run.create_envs(1, eval_env=True)
    assert isinstance(inner(env), WorkerVecEnv)
    assert built == [{"backend": "process"}]
    assert run.vec_env_kwargs["backend"] == "ray"
    env.close()


def test_bad_choices_are_refused(tmp_path: Path) -> None:
    manager = manager_class()
    with pytest.raises(ValueError, match=r"expected one of \['dummy', 'subproc', 'worker', 'ray'\], got 'threads'"):
        extend_manager(manager, "threads")
    extend_manager(manager)
    for entry, message in (
        ({"vec_env": "threads"}, "got 'threads'"),
        ({"vec_env_kwargs": {"n_workers": 2}}, "without vec_env"),
    ):
        run = experiment(tmp_path, manager, entry)
        with pytest.raises(ValueError, match=message):
            run._preprocess_hyperparams(run.read_hyperparameters()[0])


def test_the_zoos_train_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "ppo.yml"
    entry = {**ENTRY, "vec_env": "subproc"}
    config.write_text(yaml.safe_dump({"Pendulum-v1": entry}))
    arguments = (
        f"--algo ppo --env Pendulum-v1 --vec-env worker --conf-file {config} -f {tmp_path / 'logs'} --eval-freq -1"
    )
    rest, choice = take_argument(["train", *arguments.split()])
    manager = manager_class()
    extend_manager(manager, choice)
    monkeypatch.setattr("rl_zoo3.train.ExperimentManager", manager)
    monkeypatch.setattr("sys.argv", rest)
    built: list[VecEnv] = []
    monkeypatch.setattr(manager, "create_envs", _remembering(manager.create_envs, built))
    train()
    assert [type(env.unwrapped) for env in built] == [WorkerVecEnv]
    assert (tmp_path / "logs" / "ppo" / "Pendulum-v1_1" / "Pendulum-v1.zip").exists()


def _remembering(create_envs: Callable[..., VecEnv], built: list[VecEnv]) -> Callable[..., VecEnv]:
    def create(*args: Any, **kwargs: Any) -> VecEnv:
        built.append(create_envs(*args, **kwargs))
        return built[-1]

    return create


def test_the_argument_is_taken_from_the_command_line() -> None:
    others = ["--algo", "qflex", "--env", "myoLegWalk-v0"]
    assert take_argument(others) == (others, None)
    assert take_argument([*others[:2], "--vec-env", "worker", *others[2:]]) == (others, "worker")
    assert take_argument([*others, "--vec-env=ray"]) == (others, "ray")
    for argv in (["--vec-env", "threads"], ["--vec-env"]):
        with pytest.raises(ValueError, match="vec_env: expected one of"):
            take_argument(argv)
