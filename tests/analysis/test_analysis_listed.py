"""In which wrappers the policy of a run acts."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.zoo_runs import ENV, write_run

from sb3_qflex.analysis.energy import ActivationEnergy
from sb3_qflex.analysis.episodes import run_episodes
from sb3_qflex.analysis.trained import load
from sb3_qflex.envs import SuccessAtAnyStep
from sb3_qflex.watch.subject import open_subject
from sb3_qflex.zoo.listed import without

HELD = {"sb3_qflex.envs.ActionRepeat": {"repeat": 2}}


@pytest.mark.parametrize(
    ("wrappers", "expected"),
    [
        (None, []),
        (HELD, []),
        ("a.B", ["a.B"]),
        ([SuccessAtAnyStep, HELD, "a.B"], [SuccessAtAnyStep, "a.B"]),
    ],
)
def test_all_but_the_repeat(wrappers, expected) -> None:
    assert without(["ActionRepeat"], wrappers) == expected


@pytest.mark.parametrize("repeat", [1, 2, 5])
def test_episodes_of_held_actions_count_steps_of_the_task_and_its_rewards(repeat: int, tmp_path: Path) -> None:
    run = write_run(tmp_path)
    config = run / ENV / "config.yml"
    wrappers = [{"sb3_qflex.envs.AliveBonus": {"bonus": 10.0}}, {"sb3_qflex.envs.ActionRepeat": {"repeat": repeat}}]
    config.write_text(yaml.dump({**yaml.unsafe_load(config.read_text()), "env_wrapper": wrappers}))
    task = load(run).task
    with closing(task.make(2, 0, [ActivationEnergy])) as env:
        played = run_episodes(lambda obs: np.full((2, *env.action_space.shape), 0.5), env, 2, 0, at_end=["energy"])
    # The same action throughout: what is held does not matter.
    assert played["length"].tolist() == [50, 50]
    assert played["energy at the end"].tolist() == pytest.approx([50 * 0.25 * env.action_space.shape[0]] * 2)
    assert (played["return"] <= 50.0).all()


def test_a_model_acts_as_it_learned_to(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    config = run / ENV / "config.yml"
    config.write_text(yaml.dump({**yaml.unsafe_load(config.read_text()), "env_wrapper": [HELD]}))
    model = load(run).model
    # Saved before RepeatUntil ended the repeat, and after.
    assert model.repeat_ended_at is None
    model.save(run / "rl_model_100_steps.zip")
    model.repeat_ended_at = 100
    model.save(run / f"{ENV}.zip")
    for path, frames, steps in ((run / "rl_model_100_steps.zip", 2, 0.08), (run, 1, 0.04)):
        for env in (load(path).model.get_env(), load(path).task.make()):
            env.reset()
            assert env.step([env.action_space.sample()])[3][0].get("frames", 1) == frames
        assert open_subject(path).dt == pytest.approx(steps)
