"""In which wrappers the last policy of a run acts."""

import pytest

from sb3_qflex.analysis.listed import wrappers_at_the_end
from sb3_qflex.analysis.trained import Task
from sb3_qflex.envs import SuccessAtAnyStep

HELD = {"sb3_qflex.envs.ActionRepeat": {"repeat": 2}}
UNTIL = {"sb3_qflex.RepeatUntil": {"fraction": 0.5}}


@pytest.mark.parametrize(
    ("wrappers", "callbacks", "expected"),
    [
        (None, None, []),
        (HELD, None, [HELD]),
        ([HELD], [{"other.Callback": {}}], [HELD]),
        ("a.B", UNTIL, ["a.B"]),
        ([SuccessAtAnyStep, HELD, "a.B"], [UNTIL], [SuccessAtAnyStep, "a.B"]),
        ([HELD], [object(), "sb3_qflex.RepeatUntil"], []),
    ],
    ids=["nothing", "held", "another callback", "one name", "ended", "objects"],
)
def test_a_repeat_that_was_ended_is_no_part_of_it(wrappers, callbacks, expected) -> None:
    assert wrappers_at_the_end(wrappers, callbacks) == expected


@pytest.mark.parametrize(("callback", "frames"), [(None, 100), ([UNTIL], 200)])
def test_an_evaluation_acts_as_the_policy_learned_to(callback, frames) -> None:
    env = Task("Pendulum-v1", hyperparams={"env_wrapper": [HELD], "callback": callback}).make()
    env.reset()
    steps = 1
    while not env.step([env.action_space.sample()])[2][0]:
        steps += 1
    env.close()
    assert steps == frames
