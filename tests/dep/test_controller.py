"""The controller against known answers, and against its definition step by step."""

import copy

import numpy as np
import pytest

from sb3_qflex.dep.config import NORMALIZATIONS, PRESETS, DEPConfig
from sb3_qflex.dep.controller import DEPController, SensorScale, correlation
from sb3_qflex.dep.switching import Switch

V = np.array([0.1, -0.2, 0.3, 0.05])
RAMP = DEPConfig(kappa=1.0, tau=8, bias_rate=-1.0, time_dist=5, s4avg=1.0)


def walk(n_calls: int, n_envs: int = 2, n_motors: int = 3, seed: int = 0) -> np.ndarray:
    """Sensors that move at random, (calls, E, d)."""
    return np.cumsum(np.random.default_rng(seed).normal(0.0, 0.1, (n_calls, n_envs, n_motors)), axis=0)


def definition(config: DEPConfig, sensors: np.ndarray) -> np.ndarray:
    """Actions (calls, d) of one environment, as the controller is written down: lists, loops and no bookkeeping."""
    n_motors = sensors.shape[1]
    model = -np.eye(n_motors)
    smoothed, bias, action = sensors[0], np.zeros(n_motors), np.zeros(n_motors)
    buffer: list[np.ndarray] = []
    actions = []
    for t, x in enumerate(sensors):
        smoothed = x if config.s4avg <= 1 or t == 0 else smoothed + (x - smoothed) / config.s4avg
        buffer.append(smoothed)
        matrix = np.zeros((n_motors, n_motors))
        if len(buffer) > 2 + config.time_dist:
            for j in range(2, min(t - config.time_dist, config.tau)):
                delta = buffer[-j] - buffer[-j - 1]
                later = j + config.time_dist
                matrix += np.outer(model @ delta, buffer[-later] - buffer[-later - 1])
            if config.bias_rate < 0:
                bias = np.zeros(n_motors)
            else:
                bias = bias - (np.clip(config.bias_rate * action, -0.05, 0.05) + 0.001 * bias)
        norms = np.linalg.norm(matrix @ model.T, axis=1)
        norms = {
            "independent": norms[:, None],
            "reference": norms[None, :],
            "global": np.linalg.norm(norms),
        }[config.normalization]
        q = config.kappa * matrix / (norms + 1e-32) @ smoothed
        q = q / (np.linalg.norm(q) + 1e-32)
        action = np.tanh(config.kappa * q + bias)
        actions.append(action)
    return np.array(actions)


def run(config: DEPConfig, sensors: np.ndarray) -> np.ndarray:
    controller = DEPController(config, *sensors.shape[1:])
    return np.array([controller.step(config, x) for x in sensors])


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("independent", -0.462117 * np.sign(V)),
        # Of rank one: each column has lost its size, and each row has it.
        ("reference", np.array([-0.258879, 0.485238, -0.661074, -0.131684])),
        ("global", np.array([-0.258879, 0.485238, -0.661074, -0.131684])),
    ],
)
def test_k1_a_ramp(normalization: str, expected: np.ndarray) -> None:
    config = RAMP.with_changes(normalization=normalization)
    actions = run(config, np.array([[V * (t + 1)] for t in range(20)]))
    assert (actions[:8] == 0.0).all()
    np.testing.assert_allclose(actions[8:, 0], np.tile(expected, (12, 1)), rtol=0, atol=1e-6)


def test_k1_the_matrix_of_a_ramp() -> None:
    controller = DEPController(RAMP, 1, 4)
    matrices = []
    for t in range(20):
        controller.step(RAMP, (V * (t + 1))[None])
        matrices.append(correlation(controller.deltas, 8, 5)[0])
    assert not np.any(matrices[:8])
    np.testing.assert_allclose(matrices[8], -np.outer(V, V), atol=1e-12)
    np.testing.assert_allclose(matrices[13:], np.tile(-6 * np.outer(V, V), (7, 1, 1)), atol=1e-12)


@pytest.mark.parametrize(("time_dist", "expected"), [(5, [[0, 1], [-1, 0]]), (10, [[1, 0], [0, 1]])])
def test_k2_sign_and_lag(time_dist: int, expected: list[list[int]]) -> None:
    config = DEPConfig(tau=22, time_dist=time_dist, s4avg=1.0, bias_rate=-1.0)
    controller = DEPController(config, 1, 2)
    for t in range(60):
        phase = 2 * np.pi * t / 20
        controller.step(config, np.array([[np.cos(phase), np.cos(phase - np.pi / 2)]]))
    np.testing.assert_allclose(
        correlation(controller.deltas, 22, time_dist)[0], 0.978870 * np.array(expected), atol=1e-6
    )


@pytest.mark.parametrize("force", [0.0, -40.0])
def test_k3_first_reading(force: float) -> None:
    scale = SensorScale(2, 3)
    lengths = np.array([[0.1, 0.3, 7.0], [0.0, 0.02, 1.0]])
    forces = np.full((2, 3), force)
    scale.update(lengths, forces)
    np.testing.assert_array_equal(scale.sensors(0.5), np.full((2, 3), -1.0))


def test_sensors_by_hand() -> None:
    scale = SensorScale(1, 1)
    for length, force in ((0.2, -10.0), (0.5, 0.0), (0.3, -5.0)):
        scale.update(np.array([[length]]), np.array([[force]]))
    expected = 2 * (0.1 / 0.4 - 0.5) + 0.04 * 5.0 / 10.1
    np.testing.assert_allclose(scale.sensors(0.04), [[expected]], rtol=1e-12)


def test_k4_interventions_last_exactly_and_have_their_share() -> None:
    config = DEPConfig(initial_steps=0, intervention_length=5, intervention_proba=0.01, test_episode_every=None)
    switch, rng = Switch(), np.random.default_rng(0)
    switch.steps = 1
    acts = np.array([switch.decide(config, 0, 1, 1, rng).acts for _ in range(1_000_000)])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], acts, [False]]).astype(int)))
    runs = edges[1::2] - edges[::2]
    assert set(runs[:-1].tolist()) == {5}
    share = 5 * 0.01 / (1 + 5 * 0.01)
    assert acts.mean() == pytest.approx(share, rel=0.04)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_k5_environments_do_not_know_each_other(normalization: str) -> None:
    config = PRESETS["ostrich"].with_changes(normalization=normalization)
    sensors = walk(60)
    together = run(config, sensors)
    for env in range(2):
        np.testing.assert_array_equal(together[:, env], run(config, sensors[:, env : env + 1])[:, 0])


@pytest.mark.parametrize("preset", PRESETS)
def test_k6_bounded_and_finite_for_sensors_that_stand_still(preset: str) -> None:
    config = PRESETS[preset]
    still = run(config, np.full((100, 2, 3), -1.0))
    assert (still == 0.0).all()
    wild = run(config, np.concatenate([1e6 * walk(120), np.zeros((60, 2, 3))]))
    assert np.isfinite(wild).all() and np.abs(wild).max() <= 1.0 and np.abs(wild[119]).max() > 0.0


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("preset", [*PRESETS, RAMP])
def test_it_is_its_definition(preset: str | DEPConfig, normalization: str) -> None:
    config = DEPConfig.of(preset).with_changes(normalization=normalization)
    sensors = walk(180, n_motors=4, seed=3)
    actions = run(config, sensors)
    for env in range(2):
        # kappa multiplies rounding a thousandfold inside the tanh.
        np.testing.assert_allclose(actions[:, env], definition(config, sensors[:, env]), rtol=0, atol=1e-8)


def test_k7_a_copy_goes_on_bit_for_bit() -> None:
    config = PRESETS["human_reacher"]
    sensors = walk(200)
    controller = DEPController(config, 2, 3)
    for x in sensors[:150]:
        controller.step(config, x)
    other = copy.deepcopy(controller)
    for x in sensors[150:]:
        np.testing.assert_array_equal(controller.step(config, x), other.step(config, x))


def test_an_environment_that_starts_anew_forgets_and_the_others_do_not() -> None:
    sensors = walk(80)
    controller, untouched = DEPController(RAMP, 2, 3), DEPController(RAMP, 2, 3)
    for x in sensors[:40]:
        controller.step(RAMP, x)
        untouched.step(RAMP, x)
    controller.restart(np.array([True, False]))
    fresh = run(RAMP, sensors[40:, :1])
    for x, alone in zip(sensors[40:], fresh, strict=True):
        action = controller.step(RAMP, x)
        np.testing.assert_array_equal(action[0], alone[0])
        np.testing.assert_array_equal(action[1], untouched.step(RAMP, x)[1])


def test_who_acts_when() -> None:
    config = DEPConfig(initial_steps=4, intervention_length=2, intervention_proba=1.0, test_episode_every=3)
    switch, rng = Switch(), np.random.default_rng(0)

    def turns(episodes: int, n: int) -> list[tuple[bool, bool]]:
        return [tuple(switch.decide(config, 4, 2, episodes, rng)) for _ in range(n)]  # type: ignore[misc]

    # Steps 0, 2 and 4 are within the first four, whatever the episode.
    assert turns(episodes=3, n=3) == [(True, True)] * 3
    # Every third episode RL alone, and DEP is not even updated.
    assert turns(episodes=3, n=2) == [(False, False)] * 2
    # With p = 1 a step of RL, with DEP updated, comes before each two of DEP.
    assert turns(episodes=4, n=6) == [(True, False), (True, True), (True, True)] * 2
    # An intervention that a test episode breaks into goes on after it.
    assert turns(episodes=5, n=2) == [(True, False), (True, True)]
    assert turns(episodes=6, n=1) == [(False, False)]
    assert turns(episodes=7, n=2) == [(True, True), (True, False)]


def test_initial_only() -> None:
    config, switch = DEPConfig(switching="initial only"), Switch()
    rng = np.random.default_rng(0)
    assert [switch.decide(config, 3, 1, 1, rng).acts for _ in range(8)] == [True] * 4 + [False] * 4
    assert switch.is_over(config, 3)
    assert not switch.is_over(config.with_changes(switching="stochastic"), 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kappa": 0.0}, "kappa must be a number in"),
        ({"tau": 2}, "tau must be an integer of at least 3, not 2"),
        ({"time_dist": 0}, "time_dist must be an integer of at least 1"),
        ({"s4avg": float("nan")}, "s4avg must be a number"),
        ({"normalization": "globale"}, "normalization='globale' is unknown, did you mean 'global'"),
        ({"switching": "never"}, "switching='never' is unknown"),
        ({"intervention_proba": 1.5}, r"intervention_proba must be a number in \[0, 1\]"),
        ({"initial_steps": 2e5}, "initial_steps must be an integer of at least 0, not 200000.0"),
        ({"taw": 3}, "Unknown setting of dep 'taw', did you mean 'tau'"),
        ({"preset": "myo_legs"}, "preset of dep='myo_legs' is unknown, did you mean 'myo_leg'"),
        ("ostriche", "preset of dep='ostriche' is unknown, did you mean 'ostrich'"),
        (3, "dep must be a DEPConfig, a mapping of its settings or the name of a preset"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DEPConfig.of(given)


def test_a_mapping_changes_a_preset() -> None:
    config = DEPConfig.of({"preset": "ostrich", "initial_steps": 5000})
    assert config == PRESETS["ostrich"].with_changes(initial_steps=5000)
    assert DEPConfig.of({"kappa": 20.0}) == DEPConfig(kappa=20.0) == DEPConfig().with_changes(kappa=20.0)
    assert DEPConfig.of("default") == DEPConfig()
