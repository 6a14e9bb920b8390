"""Replay buffers that draw recent transitions more often: how often, across which boundaries, in trainings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gymnasium import spaces
from helpers.checkpoint_samples import BreakOff, assert_equal, everything
from helpers.small_models import BoxEnv, bit_flipping, small_model
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import (
    DictGeometricReplayBuffer,
    DictRecentReplayBuffer,
    GeometricReplayBuffer,
    QFlex,
    RecentReplayBuffer,
    TrainingCheckpoint,
)
from sb3_qflex.common.replay import may_keep_infos
from sb3_qflex.common.replay_recent import geometric_ages
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402

BOX = spaces.Box(-1.0, 1.0, (1,), np.float32)


def filled(buffer_class: Any, rows: int, capacity: int, n_envs: int = 1, **kwargs: Any) -> Any:
    """Row r has the observation r in all environments, and the reward r; no episode ends."""
    buffer = buffer_class(capacity * n_envs, BOX, BOX, device="cpu", n_envs=n_envs, **kwargs)
    for row in range(rows):
        here = np.full((n_envs, 1), row, np.float32)
        buffer.add(here, here + 1, here, here[:, 0], np.zeros(n_envs), [{}] * n_envs)
    return buffer


def drawn_rows(buffer: Any, batches: int, batch_size: int = 256) -> np.ndarray:
    return np.concatenate([buffer.sample(batch_size).observations[:, 0].numpy() for _ in range(batches)]).astype(int)


def test_the_latest_2048_of_100_000_get_their_share_and_more() -> None:
    np.random.seed(0)
    buffer = RecentReplayBuffer(200_000, BOX, BOX, device="cpu")
    buffer.pos = 100_000
    buffer.observations[:, 0, 0] = np.arange(200_000)
    rows = drawn_rows(buffer, 400)
    assert rows.max() < 100_000  # none of the unwritten
    expected = 52 / 256 + 204 / 256 * 0.02048
    assert np.mean(rows >= 100_000 - 2048) == pytest.approx(expected, abs=4 * np.sqrt(expected / len(rows)))
    # 52 of 256 come from nowhere else, in each batch.
    assert all(np.sum(drawn_rows(buffer, 1) >= 100_000 - 2048) >= 52 for _ in range(20))


@pytest.mark.parametrize(
    ("fraction", "batch_size", "expected"), [(0.1, 30, 3), (0.7, 10, 7), (0.01, 8, 1), (0.0, 8, 0)]
)
def test_the_share_is_rounded_up_and_no_further(fraction: float, batch_size: int, expected: int) -> None:
    buffer = filled(RecentReplayBuffer, 5000, 5000, recent_size=1, recent_fraction=fraction)
    np.random.seed(0)
    newest = [int(np.sum(buffer.ages(batch_size) == 0)) for _ in range(20)]
    assert np.median(newest) == expected


def test_the_latest_are_counted_over_all_environments_and_across_the_end_of_the_ring() -> None:
    np.random.seed(0)
    # 12 rows were stored, of which the ring of 10 has the rows 2 to 11; the newest of all lies at its second place.
    buffer = filled(RecentReplayBuffer, 12, 10, n_envs=4, recent_size=10, recent_fraction=1.0)
    rows, counts = np.unique(drawn_rows(buffer, 40), return_counts=True)
    assert rows.tolist() == [9, 10, 11]
    # Ten transitions are two rows of four and half of a third.
    np.testing.assert_allclose(counts / counts.sum(), [0.2, 0.4, 0.4], atol=0.02)
    # Fewer are stored than count as the latest.
    assert set(drawn_rows(filled(RecentReplayBuffer, 3, 10, recent_fraction=1.0), 2)) == {0, 1, 2}


@pytest.mark.parametrize("rows", [7, 10, 23])
def test_geometric_draws_have_the_truncated_geometric_distribution(rows: int) -> None:
    np.random.seed(0)
    buffer = filled(GeometricReplayBuffer, rows, 10, n_envs=2, recency=1.5)
    n = min(rows, 10)
    found, counts = np.unique(drawn_rows(buffer, 200), return_counts=True)
    assert found.tolist() == list(range(rows - n, rows))
    weights = np.exp(-1.5 * np.arange(n) / n)[::-1]
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=0.008)


def test_inversion_hits_the_edges() -> None:
    quantiles = np.array([0.0, 0.5004, np.nextafter(1.0, 0.0)])
    assert geometric_ages(quantiles, 1000, 0.0).tolist() == [0, 500, 999]
    np.testing.assert_array_equal(geometric_ages(quantiles, 1000, 1e-8), geometric_ages(quantiles, 1000, 0.0))
    # P(age < k) = (1 - q^k) / (1 - q^n), q = exp(-2 / 1000): half of them are below 283.1.
    assert geometric_ages(quantiles, 1000, 2.0).tolist() == [0, 283, 999]
    assert geometric_ages(quantiles, 1000, 1e4).max() == 3
    # Numbers of the documentation.
    assert [round((1 - np.exp(-r / 2)) / (1 - np.exp(-r)), 2) for r in (2, 5)] == [0.73, 0.92]


@pytest.mark.parametrize("buffer_class", [GeometricReplayBuffer, RecentReplayBuffer])
@pytest.mark.parametrize("rows", [6, 13])
def test_n_step_returns_end_with_episodes_time_limits_and_the_newest_row(buffer_class: Any, rows: int) -> None:
    buffer = filled(buffer_class, rows, 10, n_steps=3, gamma=0.5)
    reference = filled(NStepReplayBuffer, rows, 10, n_steps=3, gamma=0.5)
    for one in (buffer, reference):
        one.dones[[2, 4]] = 1.0
        one.timeouts[2] = 1.0
    np.random.seed(0)
    batch = buffer.sample(200)
    for at, reward, discount, next_at in zip(
        *(x[:, 0].tolist() for x in (batch.observations, batch.rewards, batch.discounts, batch.next_observations)),
        strict=True,
    ):
        length = 1
        while length < 3 and at + length < rows and not buffer.dones[int(at + length - 1) % 10]:
            length += 1
        assert reward == sum(0.5**k * (at + k) for k in range(length))
        assert (discount, next_at) == (0.5**length, at + length)
    indices = np.arange(buffer.size())
    for one, other in zip(buffer._get_samples(indices), reference._get_samples(indices), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("buffer_class", "options", "env"),
    [
        (GeometricReplayBuffer, {"recency": 3.0}, BoxEnv),
        (RecentReplayBuffer, {"recent_size": 8, "recent_fraction": 0.5}, BoxEnv),
        (DictGeometricReplayBuffer, {"recency": 3.0}, bit_flipping),
        (DictRecentReplayBuffer, {"recent_size": 8}, bit_flipping),
    ],
)
def test_a_resumed_training_draws_as_one_that_was_not_broken_off(
    buffer_class: Any, options: dict[str, Any], env: Any, tmp_path: Path
) -> None:
    def model() -> QFlex:
        policy = "MlpPolicy" if env is BoxEnv else "MultiInputPolicy"
        n_steps = 3 if env is BoxEnv else 1
        return small_model(
            make_vec_env(env, 2), policy, replay_buffer_class=buffer_class, replay_buffer_kwargs=options,
            exploration="source", buffer_size=60, n_steps=n_steps,
        )  # fmt: skip

    whole = model().learn(90)
    assert type(whole.replay_buffer) is buffer_class and whole.replay_buffer.full
    assert not may_keep_infos(whole.replay_buffer)
    with pytest.raises(ConnectionAbortedError):
        model().learn(90, [TrainingCheckpoint(tmp_path, every=20), BreakOff(76)])
    resumed = QFlex.resume(tmp_path, make_vec_env(env, 2), device="cpu")
    assert vars(resumed.replay_buffer).items() >= options.items()
    resumed.learn(90 - resumed.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(resumed))


@pytest.mark.parametrize(
    ("buffer_class", "options", "error", "message"),
    [
        (GeometricReplayBuffer, {"recency": -1}, ValueError, r"recency must be a number in \[0, inf\), not -1"),
        (GeometricReplayBuffer, {"recencey": 1}, TypeError, "no option 'recencey', did you mean 'recency'"),
        (RecentReplayBuffer, {"recent_size": 0}, ValueError, "recent_size must be an integer of at least 1, not 0"),
        (
            RecentReplayBuffer,
            {"recent_fraction": 2},
            ValueError,
            r"recent_fraction must be a number in \[0, 1\], not 2",
        ),
        (DictGeometricReplayBuffer, {}, ValueError, "Box observations need"),
    ],
)
def test_bad_arguments_are_refused_when_the_model_is_made(
    buffer_class: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small_model(BoxEnv(), replay_buffer_class=buffer_class, replay_buffer_kwargs=options)
    with pytest.raises(ValueError, match="optimize_memory_usage works with"):
        small_model(BoxEnv(), replay_buffer_class=GeometricReplayBuffer, optimize_memory_usage=True)


def test_an_empty_buffer_has_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="The replay buffer is empty"):
        filled(GeometricReplayBuffer, 0, 10).sample(2)


def test_an_entry_of_the_zoo_names_it(tmp_path: Path) -> None:
    entry = {
        "n_timesteps": 60, "policy": "MlpPolicy", "learning_starts": 40, "buffer_size": 100, "n_steps": 3,
        "replay_buffer_class": "GeometricReplayBuffer", "replay_buffer_kwargs": "dict(recency=2.0)",
    }  # fmt: skip
    config = tmp_path / "entries.yml"
    config.write_text(yaml.safe_dump({"Pendulum-v1": entry}))
    run = ExperimentManager(
        None, "qflex", "Pendulum-v1", str(tmp_path), verbose=0, config=str(config), eval_freq=-1, device="cpu"
    )
    run._save_config = lambda saved: None  # type: ignore[method-assign]
    setup = run.setup_experiment()
    assert setup is not None
    buffer: Any = setup[0].replay_buffer
    assert type(buffer) is GeometricReplayBuffer
    assert (buffer.recency, buffer.n_steps, buffer.gamma) == (2.0, 3, 0.99)
