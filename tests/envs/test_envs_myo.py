"""MyoSuite's tasks under the paper's names: MyoSuite's numbers unchanged, success and the 2.x map added."""

import gymnasium as gym
import numpy as np
import pytest
from helpers.envs_assets import needs
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor, load_results

from sb3_qflex.envs.myo import MyoTask, WithoutModelSource

pytestmark = needs("MyoHandPenTwirl-v0")

PAIRS = [("MyoHandPenTwirl-v0", "myoHandPenTwirlRandom-v0"), ("MyoLegWalk-v0", "myoLegWalk-v0")]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_numbers_are_myosuites_own(ours, theirs):
    one, other = gym.make(ours), gym.make(theirs)
    np.testing.assert_array_equal(one.reset(seed=4)[0], other.reset(seed=4)[0])
    one.action_space.seed(0)
    for _ in range(10):
        action = one.action_space.sample()
        expected, got = other.step(action), one.step(action)
        np.testing.assert_array_equal(got[0], expected[0])
        assert got[1:4] == expected[1:4]
        assert got[4]["is_success"] == bool(expected[4]["solved"])
        assert got[4]["diverged"] is False
        if got[2] or got[3]:
            break
    assert one.spec.max_episode_steps == other.spec.max_episode_steps


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_environments_on_one_model_do_not_disturb_each_other(ours, theirs):
    pairs = [(gym.make(ours), gym.make(theirs)) for _ in range(2)]
    assert pairs[0][0].unwrapped.model is pairs[1][0].unwrapped.model
    for seed, (one, other) in enumerate(pairs):
        np.testing.assert_array_equal(one.reset(seed=seed)[0], other.reset(seed=seed)[0])
    space = pairs[0][0].action_space
    space.seed(0)
    for _ in range(5):
        for one, other in pairs:
            action = space.sample()
            got, expected = one.step(action), other.step(action)
            np.testing.assert_array_equal(got[0], expected[0])
            assert got[1] == expected[1]


def test_environments_that_render_or_differ_have_a_model_of_their_own():
    shared = gym.make("MyoLegWalk-v0").unwrapped.model
    assert gym.make("MyoLegWalk-v0", render_mode="rgb_array").unwrapped.model is not shared
    slower = gym.make("MyoLegWalk-v0", target_y_vel=0.5).unwrapped
    assert slower.model is not shared and slower.target_y_vel == 0.5


def test_reset_options_set_the_state():
    env = gym.make("MyoLegWalk-v0")
    env.reset(seed=0)
    qpos, qvel = env.unwrapped.data.qpos.copy(), np.full(34, 0.5)
    qpos[2] += 0.1
    observation, _ = env.reset(seed=0, options={"qpos": qpos, "qvel": qvel})
    # MyoSuite's observation: qpos without x and y, then qvel times its step of 0.01 s.
    np.testing.assert_allclose(observation[:67], [*qpos[2:], *(0.01 * qvel)], rtol=1e-6)
    assert (env.reset(seed=0)[0] != observation).any()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_info_holds_scalars_only(ours, theirs):
    env = gym.make(ours)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    assert all(np.isscalar(value) for value in info.values())


def test_excitations_of_both_action_maps():
    for entry_id, action, excitation in (
        ("MyoLegWalk-v0", 0.25, 0.25),
        ("MyoLegWalkSigmoid-v0", 0.0, 1 / (1 + np.exp(2.5))),
        ("MyoLegWalkSigmoid-v0", 0.5, 0.5),
    ):
        env = gym.make(entry_id)
        env.reset(seed=0)
        env.step(np.full(80, action, dtype=np.float32))
        np.testing.assert_allclose(env.unwrapped.data.ctrl, excitation, rtol=1e-5)


def test_pen_episode_is_truncated_after_fifty_steps_unless_it_drops():
    env = gym.make("MyoHandPenTwirl-v0")
    env.reset(seed=0)
    steps, done = 0, False
    while not done:
        _, _, terminated, truncated, info = env.step(np.zeros(39, dtype=np.float32))
        steps += 1
        done = terminated or truncated
    assert truncated is (steps == 50)
    assert terminated is (info["drop"] != 0) or steps == 50


def test_divergence_is_an_episode_for_a_monitor_beneath(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its warnings
    # The order in which RL Zoo wraps.
    monitor = Monitor(gym.make("myoHandPenTwirlRandom-v0"), "monitor")
    env = WithoutModelSource(MyoTask(monitor))
    action = np.full(39, 0.5, dtype=np.float32)
    env.reset(seed=0)
    rewards = [env.step(action)[1] for _ in range(3)]
    env.unwrapped.data.qvel[-1] = np.nan
    info = env.step(action)[4]
    assert info["episode"]["r"] == pytest.approx(sum(rewards), abs=1e-5)
    # What evaluations count is there as in any other step.
    assert (info["solved"], info["is_success"], info["diverged"]) == (False, False, True)
    env.reset(seed=0)
    ended = False
    while not ended:
        *_, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    env.close()
    episodes = load_results(str(tmp_path))
    # One row for each, whether or not the task saw by itself that the first one was over.
    assert episodes["l"].tolist() == monitor.get_episode_lengths() == [4, info["episode"]["l"]]
    assert episodes["r"].tolist() == pytest.approx(monitor.get_episode_rewards(), abs=1e-5)


def test_an_evaluation_counts_diverged_episodes_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    envs = make_vec_env("myoHandPenTwirlRandom-v0", 2, seed=0, wrapper_class=MyoTask)
    successes = []

    def look(local, _):
        if local["done"]:
            successes.append(local["info"]["is_success"])
        # The third step of each episode of the first environment diverges.
        if local["i"] == 0 and local["current_lengths"][0] == 2:
            envs.envs[0].unwrapped.data.qvel[-1] = np.nan

    class Still:
        def predict(self, observations, **kwargs):
            return np.full((2, 39), 0.5, dtype=np.float32), None

    returns, lengths = evaluate_policy(Still(), envs, 6, callback=look, return_episode_rewards=True)
    assert len(returns) == len(lengths) == len(successes) == 6
    assert lengths.count(3) == 3 and np.isfinite(returns).all()


def test_a_task_that_edits_its_model_needs_the_models_source():
    env = gym.make("myoHandObjHoldRandom-v0")
    with pytest.raises(ValueError, match=r"edits its model at each reset.* leave WithoutModelSource out"):
        WithoutModelSource(env)
    # Nothing was taken from it.
    env.reset(seed=0)
    # A sibling of the same class as tasks that do is not refused for it.
    WithoutModelSource(gym.make("myoElbowPose1D6MRandom-v0")).reset(seed=0)


def test_leaving_the_source_out_changes_no_trajectory():
    plain, bare = gym.make("myoHandPenTwirlRandom-v0"), gym.make("myoHandPenTwirlRandom-v0")
    for env in (plain, bare):
        env.reset(seed=3)
    bare = WithoutModelSource(bare)
    for _ in range(2):
        # Without a seed: the generators go on from where they were.
        np.testing.assert_array_equal(plain.reset()[0], bare.reset()[0])
        for _ in range(5):
            one, other = (env.step(np.full(39, 0.5, dtype=np.float32)) for env in (plain, bare))
            np.testing.assert_array_equal(one[0], other[0])
            assert one[1:4] == other[1:4]
