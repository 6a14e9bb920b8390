"""Useful work counted by hand on networks small enough for it."""

import pytest

from sb3_qflex.speed.flops import Problem, acting_flop, crossq_update_flop, flow_target_flop, update_flop

# Observation 3, |A| = 2, hidden layers 5 and 4, two critics; multiply-adds of each product for one sample:
OBSERVATION, ACTION, HIDDEN, VALUE = 3 * 5, 2 * 5, 5 * 4, 4 * 1
SMALL = Problem(3, 2, (5, 4))
CRITIC_REMAINDER = ACTION + HIDDEN + VALUE
CRITIC = OBSERVATION + CRITIC_REMAINDER
SOURCE = OBSERVATION + HIDDEN + 4 * 4
FIELD = (3 + 2 + 1) * 5 + HIDDEN + 4 * 2


def test_flow_target_counts_the_observation_once_and_goes_backward_through_one_critic():
    forwards, backwards = 2 * CRITIC_REMAINDER, CRITIC_REMAINDER
    assert flow_target_flop(SMALL, 7, 3) == 2 * 7 * (2 * OBSERVATION + 3 * (forwards + backwards))


def test_update_counts_the_passes_of_its_four_steps():
    # Backward: by the weights as much as forward, by the activations all layers but the first.
    critic_step = SOURCE + 2 * 2 * (CRITIC + CRITIC + HIDDEN + VALUE)
    source_step = SOURCE + 2 * CRITIC + CRITIC_REMAINDER + SOURCE + HIDDEN + 4 * 4
    assert crossq_update_flop(SMALL, 7) == 2 * 7 * (critic_step + source_step)
    target = 2 * 7 * SOURCE + flow_target_flop(SMALL, 7, 3)
    field_step = 2 * 7 * (FIELD + FIELD + HIDDEN + 4 * 2)
    assert update_flop(SMALL, 7, 3) == crossq_update_flop(SMALL, 7) + target + field_step


def test_acting_counts_the_observation_once_and_k_steps():
    step = ACTION + HIDDEN + 4 * 2
    assert acting_flop(SMALL, 80, 10) == 2 * 80 * (SOURCE + OBSERVATION + 10 * step)


def test_critics_are_counted_one_by_one():
    three = Problem(3, 2, (5, 4), n_critics=3)
    assert flow_target_flop(three, 1, 1) == 2 * (3 * OBSERVATION + 4 * CRITIC_REMAINDER)


@pytest.mark.parametrize(("obs_dim", "action_dim", "known"), [(83, 39, 4.1), (403, 80, 3.4), (270, 216, 3.8)])
def test_update_against_an_update_without_guidance_at_the_papers_sizes(obs_dim, action_dim, known):
    problem = Problem(obs_dim, action_dim)
    assert update_flop(problem, 256, 20) / crossq_update_flop(problem, 256) == pytest.approx(known, abs=0.05)


def test_growth_from_80_to_700_actuators():
    large, small = (update_flop(Problem(403, n), 256, 20) for n in (700, 80))
    assert large / small == pytest.approx(1.94, abs=0.005)
