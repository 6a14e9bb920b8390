"""Order, counts and ratios of interleaved timing, with a clock that only the tasks move."""

import numpy as np
import pytest
import torch as th
from torch.utils.flop_counter import FlopCounterMode

from sb3_qflex.speed.flops import Problem, acting_flop
from sb3_qflex.speed.gemm import _products, gemm_tasks, peak, share
from sb3_qflex.speed.loop_timer import LoopTimer
from sb3_qflex.speed.rows.acting import bare_products
from sb3_qflex.speed.rows.growth import fit_line
from sb3_qflex.speed.timing import Schedule, Task, interleave, ratio


class FakeClock:
    """Seconds that pass only when told to; every task that takes some leaves its name in ``log``."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def task(self, name, *seconds, prepare=None):
        """Takes the given seconds in turn, then the last ones for ever."""
        left = list(seconds)

        def function():
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return Task(name, function, prepare)


def test_tasks_take_turns_and_every_second_round_goes_backward():
    clock = FakeClock()
    tasks = [clock.task(name, 1.0) for name in "abc"]
    seconds = interleave(tasks, Schedule(0.0, 3, 3), clock)
    # Two warm-up calls each come first.
    assert clock.log == [*"aabbcc", *"abc", *"cba", *"abc"]
    assert {name: values.tolist() for name, values in seconds.items()} == dict.fromkeys("abc", [1.0] * 3)


def test_rounds_end_when_the_time_is_used_up():
    clock = FakeClock()
    tasks = [clock.task("a", 1.0), clock.task("b", 2.0)]
    assert len(interleave(tasks, Schedule(10.0, 1, 100), clock)["a"]) == 4  # the first multiple of 3 s that is >= 10 s
    assert len(interleave(tasks, Schedule(10.0, 6, 100), clock)["a"]) == 6
    assert len(interleave(tasks, Schedule(10.0, 1, 2), clock)["a"]) == 2


def test_warm_up_is_not_counted():
    clock = FakeClock()
    seconds = interleave([clock.task("a", 50.0, 40.0, 1.0, 3.0)], Schedule(0.0, 2, 2), clock)
    assert seconds["a"].tolist() == [1.0, 3.0]


def test_a_fast_task_is_called_several_times_and_the_mean_counts():
    clock = FakeClock()
    seconds = interleave([clock.task("a", 9.0, 0.25, 0.1, 0.2, 0.3, 0.4)], Schedule(0.0, 1, 1, turn_seconds=1.0), clock)
    assert len(clock.log) == 2 + 4
    assert seconds["a"] == pytest.approx([0.25])


def test_preparation_runs_before_each_call_and_is_not_timed():
    clock = FakeClock()

    def prepare():
        clock.log.append("prepare")
        clock.now += 100.0

    seconds = interleave([clock.task("a", 1.0, prepare=prepare)], Schedule(0.0, 2, 2), clock)
    assert clock.log == ["prepare", "a"] * 4
    assert seconds["a"].tolist() == [1.0, 1.0]


def test_refuses_tasks_of_one_name_and_a_schedule_without_rounds():
    clock = FakeClock()
    with pytest.raises(ValueError, match="differ"):
        interleave([clock.task("a", 1.0), clock.task("a", 1.0)], Schedule(0.0, 1, 1), clock)
    with pytest.raises(ValueError, match="min_rounds"):
        Schedule(1.0, 0, 5)


def test_ratios_are_taken_round_by_round():
    # The machine was ten times slower in the second round: medians of the two would give 5.5 / 11.
    seconds = {"a": np.array([1.0, 10.0]), "b": np.array([2.0, 20.0])}
    assert ratio(seconds, "b", "a").tolist() == [2.0, 2.0]


def test_share_of_the_faster_matrix_product_of_each_round():
    seconds = {
        "matrix product 1024": np.array([1.0, 2.0]),
        "matrix product 256": np.array([1.0, 2.0 / 4**3 / 4]),  # four times the rate in the second round
        "a": np.array([2.0, 2.0]),
    }
    flop = 2.0 * 1024**3
    np.testing.assert_allclose(peak(seconds), [flop, 2 * flop])
    np.testing.assert_allclose(share(flop, seconds, "a"), [0.5, 0.25])


def test_the_fastest_route_of_a_type_is_its_peak():
    seconds = {
        "matrix product 1024": np.array([4.0]),
        "matrix product 1024, oneDNN": np.array([2.0]),
        "matrix product 256, NumPy": np.array([1.0]),
        "bfloat16 product 1024": np.array([1.0]),
        "bfloat16 product 256, oneDNN": np.array([1.0]),
        "a": np.array([4.0]),
    }
    flop = 2.0 * 1024**3
    assert peak(seconds).tolist() == [flop / 2.0] and peak(seconds, "bfloat16").tolist() == [flop]
    assert share(flop, seconds, "a", "bfloat16").tolist() == [0.25]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_by_all_routes_are_the_same_product(dtype):
    results = {}
    for edge in (8, 32):
        for name, product in _products(edge, dtype, "cpu").items():
            results.setdefault(edge, []).append(th.as_tensor(product()).float())
            assert name in ("", ", oneDNN", ", NumPy")
    for first, *others in results.values():
        # oneDNN takes the right factor transposed: the same work.
        assert all(other.shape == first.shape for other in others)
    assert {task.name.split(",")[0] for task in gemm_tasks(dtype)} == {
        f"{'matrix' if dtype == 'float32' else dtype} product {edge}" for edge in (1024, 256)
    }


def test_fitted_line():
    assert fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0]) == pytest.approx((1.0, 2.0, 1.0))
    # Residuals 1/3, -2/3, 1/3 of values with the variance 2/3 + 1/9.
    _, _, explained = fit_line([0.0, 1.0, 2.0], [0.0, 0.0, 2.0])
    assert explained == pytest.approx(0.75)


class FakeLoop:
    """What ``LoopTimer`` knows of an off-policy algorithm: each part takes its own number of seconds."""

    def __init__(self, clock):
        self.clock = clock
        self.env = self
        self.steps = 0

    def step(self, actions):
        self.clock.now += 1.0
        return "observation"

    def _sample_action(self):
        self.clock.now += 2.0

    def _store_transition(self):
        self.clock.now += 3.0

    def train(self, gradient_steps, batch_size=1):
        self.clock.now += 4.0 * gradient_steps

    def learn(self, total_timesteps, reset_num_timesteps):
        assert not reset_num_timesteps
        for _ in range(total_timesteps):
            self._sample_action()
            assert self.step(None) == "observation"
            self._store_transition()
            self.train(gradient_steps=2)
            self.clock.now += 0.5


def test_loop_timer_splits_each_turn():
    clock = FakeClock()
    timer = LoopTimer(FakeLoop(clock), clock)
    timer.learn(1)
    timer.learn(10)
    one = {"environment": 1.0, "acting": 2.0, "buffer": 3.0, "update": 8.0, "other": 0.5}
    assert timer.turns == [one, {part: 10 * seconds for part, seconds in one.items()}]


def test_bare_products_are_those_of_the_networks():
    for rows in (1, 4):
        with FlopCounterMode(display=False) as counter:
            bare_products(Problem(3, 2, (5, 4)), rows, flow_steps=3)()
        # torch does not count matrix-vector products.
        assert counter.get_total_flops() == (0 if rows == 1 else acting_flop(Problem(3, 2, (5, 4)), rows, 3))
