"""Everything that QFlex refuses says what was given and what is allowed, at construction and at load."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, ReachEnv, assert_same, bit_flipping, parameters, small_model
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)
from stable_baselines3.sac.policies import SACPolicy

from sb3_qflex import QFlex, QFlexPolicy

OPTIONS = [
    ({"flow_steps": 0}, "flow_steps must be an integer of at least 1, not 0"),
    ({"flow_steps": 2.5}, "flow_steps must be an integer"),
    ({"guidance_steps": -1}, "guidance_steps must be an integer of at least 1"),
    ({"guidance_step_size": 0.0}, r"guidance_step_size must be a number in \(0, inf\), not 0.0"),
    ({"guidance_step_size": float("nan")}, "guidance_step_size must be a number"),
    ({"guidance_dtype": "bfloat"}, "guidance_dtype='bfloat' is unknown, did you mean 'bfloat16'?"),
    ({"guidance_dtype": None}, "guidance_dtype=None is unknown"),
    ({"exploration": "flwo"}, "exploration='flwo' is unknown, did you mean 'flow'?"),
    ({"bootstrap": "sources"}, "did you mean 'source'?"),
    ({"preconditioner": "rsm"}, "did you mean 'rms'?"),
    ({"preconditioner": [1.0, -1.0]}, "array of 2 positive finite numbers"),
    ({"preconditioner": [1.0]}, r"array of 2 positive finite numbers .* shape \(1,\)"),
    ({"preconditioner": []}, "array of 2 positive finite numbers"),
    ({"ent_coef": -0.1}, "ent_coef must be a number"),
    ({"ent_coef": "automatic"}, "ent_coef must be a number >= 0, 'auto' or 'auto_x'"),
    ({"ent_coef": "auto_0"}, "x > 0, not 'auto_0'"),
    ({"target_entropy": float("inf")}, "target_entropy must be a number"),
    ({"gamma": 1.1}, r"gamma must be a number in \[0, 1\], not 1.1"),
    ({"learning_rate": -1.0}, "learning_rate must be a number"),
    ({"batch_size": 1}, "batch_size must be an integer of at least 2, not 1"),
    ({"buffer_size": 0}, "buffer_size must be an integer of at least 1"),
    ({"learning_starts": -1}, "learning_starts must be an integer of at least 0"),
    ({"policy_delay": 0}, "policy_delay must be an integer of at least 1"),
    ({"gradient_steps": -2}, "gradient_steps must be an integer of at least -1"),
    ({"train_freq": "4"}, "train_freq must be an integer of at least 1, not '4'"),
    ({"train_freq": (1, "close")}, "unit of train_freq='close' is unknown"),
    ({"train_freq": (1, "step", 2)}, "pair such as"),
]


@pytest.mark.parametrize("options, message", OPTIONS, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_options(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small_model(BoxEnv(), **options)
    small_model(BoxEnv()).save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        QFlex.load(tmp_path / "model", device="cpu", **options)


@pytest.mark.parametrize(
    "policy_kwargs, error, message",
    [
        ({"batch_norm_momentum": 0.0}, ValueError, r"batch_norm_momentum must be a number in \(0, 1\]"),
        ({"batch_norm_momentum": 1.5}, ValueError, "batch_norm_momentum"),
        ({"batch_norm_eps": 0.0}, ValueError, "batch_norm_eps"),
        ({"renorm_warmup_steps": -1}, ValueError, "renorm_warmup_steps must be an integer of at least 0"),
        ({"n_critics": 0}, ValueError, "n_critics must be an integer of at least 1"),
        ({"net_arch": [16, 0]}, ValueError, r"each width in net_arch\['pi'\]"),
        ({"net_arch": {"vf": [16]}}, ValueError, "Unknown network in net_arch 'vf'"),
        ({"net_arhc": [16]}, TypeError, "no option 'net_arhc', did you mean 'net_arch'?"),
        ({"use_sde": True}, TypeError, "gSDE is not supported"),
        ({"flow_steps": 3}, ValueError, "Pass flow_steps to QFlex itself"),
    ],
    ids=str,
)
def test_policy_kwargs(policy_kwargs, error, message):
    with pytest.raises(error, match=message):
        small_model(BoxEnv(), policy_kwargs=policy_kwargs)


def test_one_sample_batches_without_batch_norm():
    small_model(BoxEnv(), batch_size=1, policy_kwargs={"batch_norm": False}).learn(22)


@pytest.mark.parametrize(
    "name, message",
    [
        ("guidance_setps", "no option 'guidance_setps', did you mean 'guidance_steps'?"),
        ("use_sde", "gSDE is not supported"),
        ("sde_sample_freq", "gSDE is not supported"),
        ("tau", "no option 'tau'"),
    ],
)
def test_unknown_names(name, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        small_model(BoxEnv(), **{name: 1})
    small_model(BoxEnv()).save(tmp_path / "model")
    with pytest.raises(TypeError, match=message):
        QFlex.load(tmp_path / "model", **{name: 1})


def test_policies():
    with pytest.raises(ValueError, match="policy='MlpPolcy' is unknown, did you mean 'MlpPolicy'"):
        small_model(BoxEnv(), "MlpPolcy")
    with pytest.raises(ValueError, match=r"unknown.* images, .*not supported.* one of MlpPolicy, MultiInputPolicy"):
        small_model(BoxEnv(), "CnnPolicy")
    with pytest.raises(ValueError, match="subclass of QFlexPolicy"):
        small_model(BoxEnv(), SACPolicy)


def test_episodes_as_unit_need_one_environment():
    env = DummyVecEnv([BoxEnv, BoxEnv])
    with pytest.raises(ValueError, match="train_freq in episodes works with one environment, not 2"):
        small_model(env, train_freq=(1, "episode"))


ACTIONS = {
    "discrete": (spaces.Discrete(3), r"needs a continuous action space \(Box\), not Discrete"),
    "multi-discrete": (spaces.MultiDiscrete([2, 3]), "needs a continuous action space"),
    "multi-binary": (spaces.MultiBinary(2), "needs a continuous action space"),
    "integers": (spaces.Box(-1, 1, (2,), np.int32), "actions of a float type, not int32"),
    "unbounded": (spaces.Box(-1.0, np.inf, (2,), np.float32), "finite lower and upper bound"),
    "no width": (spaces.Box(np.zeros(2, np.float32), np.array([1, 0], np.float32)), r"entries \[1\] .* no width"),
    "no dimension": (
        spaces.Box(-1.0, 1.0, (), np.float32),
        r"'?action'? is a number without a dimension .* shape \(1,\)",
    ),
    "no actuator": (spaces.Box(-1.0, 1.0, (0,), np.float32), "at least one actuator"),
}


# SB3 raises AssertionError for spaces that an algorithm does not support; code written for it catches that.
@pytest.mark.parametrize("error", [ValueError, AssertionError])
@pytest.mark.parametrize("space, message", ACTIONS.values(), ids=ACTIONS)
def test_action_spaces(space, message, error):
    with pytest.raises(error, match=message):
        small_model(BoxEnv(action_space=space))


NUMBER = spaces.Box(-1.0, 1.0, (), np.float32)
NOTHING = spaces.Box(-1.0, 1.0, (0,), np.float32)
OBSERVATIONS = {
    "no dimension": (NUMBER, r"'observation' is a number without a dimension .* shape \(1,\)"),
    "no dimension in Dict": (spaces.Dict(a=NUMBER, n=spaces.Discrete(2)), "'a' is a number without a dimension"),
    "empty": (NOTHING, "'observation' is empty .* leave it out"),
    "empty in Dict": (spaces.Dict(a=NOTHING, n=spaces.Discrete(2)), "'a' is empty .* leave it out"),
    "empty Dict": (spaces.Dict({}), "At least one observation is needed"),
    "matrix of choices": (spaces.MultiDiscrete([[3, 4], [2, 2]]), r"(?s)one dimension.*\(2, 2\).*flatten it"),
    "column of choices": (spaces.Dict(a=spaces.MultiDiscrete([[3], [2]])), r"'a' is of shape \(2, 1\)"),
    "nested": (spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2))), "does not support the Dict observation 'a'"),
    "image": (spaces.Box(0, 255, (36, 36, 3), np.uint8), "does not support images"),
    "image in Dict": (spaces.Dict({"eye": spaces.Box(0, 255, (3, 36, 36), np.uint8)}), "'eye' is one"),
    "text": (spaces.Text(5), "does not support the Text observation"),
    "start": (spaces.Discrete(3, start=1), "start at 0"),
}


@pytest.mark.parametrize("space, message", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_observation_spaces(space, message):
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(ValueError, match=message):
        small_model(BoxEnv(space), policy)


@pytest.mark.parametrize("space", [NUMBER, NOTHING], ids=["no dimension", "empty"])
def test_observation_spaces_of_a_policy_alone_and_at_load(space, tmp_path):
    with pytest.raises(ValueError, match="observation"):
        QFlexPolicy(space, spaces.Box(-1.0, 1.0, (2,)), lambda _: 1e-3)
    small_model(BoxEnv()).save(tmp_path / "model")
    for load in (
        lambda: QFlex.load(tmp_path / "model", env=BoxEnv(space)),
        lambda: small_model().set_env(BoxEnv(space)),
    ):
        with pytest.raises(ValueError, match="'observation' is"):
            load()


# --- Vectorised environments ---


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments_of_gymnasium(mode):
    env = gym.make_vec("Pendulum-v1", num_envs=2, vectorization_mode=mode)
    wrapped = gym.wrappers.vector.RecordEpisodeStatistics(env)
    for given in (env, wrapped):
        with pytest.raises(ValueError, match=r"Gymnasium's vector environments.*make_vec_env\(env_id, n_envs\)"):
            small_model(given)
    model = small_model()
    with pytest.raises(ValueError, match="Gymnasium's vector environments"):
        model.set_env(env)
    env.close()


class Shift(VecEnvWrapper):
    def reset(self):
        return self.venv.reset() + 5.0

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations + 5.0, rewards, dones, infos


class Reward(VecEnvWrapper):
    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, 2.0 * rewards, dones, infos


def stacked(env):
    return VecFrameStack(env, 3)


@pytest.mark.parametrize("wrap", [stacked, Shift, Reward])
def test_wrappers_above_normalisation(wrap, tmp_path):
    def env(n_envs=2):
        return DummyVecEnv([BoxEnv] * n_envs)

    expected = r"above VecNormalize .*step_wait.*Put VecNormalize above it.*VecNormalize\(\w+\(env, .*vec_env_wrapper"
    for given in (
        wrap(VecNormalize(env())),
        VecMonitor(wrap(VecNormalize(env()))),
        wrap(VecMonitor(VecNormalize(env()))),
    ):
        with pytest.raises(ValueError, match=expected):
            small_model(given)
    model = small_model(VecNormalize(wrap(env()))).learn(30)
    with pytest.raises(ValueError, match="Put VecNormalize above it"):
        model.set_env(wrap(VecNormalize(env())))
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="Put VecNormalize above it"):
        QFlex.load(tmp_path / "model", env=wrap(VecNormalize(env())))


def test_wrappers_above_normalisation_that_change_nothing():
    env = VecCheckNan(VecMonitor(VecNormalize(DummyVecEnv([BoxEnv, BoxEnv]))))
    model = small_model(env).learn(30)
    batch = model.replay_buffer.sample(20, env=model.get_vec_normalize_env())
    assert float(batch.observations.abs().max()) > 1.0


def test_wrappers_above_normalisation_of_dict_observations():
    env = DummyVecEnv([ReachEnv])
    with pytest.raises(ValueError, match=r"Put VecNormalize above it.* in the place of frame_stack"):
        small_model(VecFrameStack(VecNormalize(env), 2), "MultiInputPolicy")
    small_model(VecNormalize(VecFrameStack(env, 2)), "MultiInputPolicy").learn(30)


@pytest.mark.parametrize("low, high, message", [(-1e4, 1e4, "20000 wide"), (-1.0, 50.0, "lopsided")])
def test_warnings_for_boxes(low, high, message):
    with pytest.warns(UserWarning, match=message):
        small_model(BoxEnv(action_space=spaces.Box(low, high, (2,), np.float32)))


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-1.0, 1.0), (2.0, 3.0)])
def test_ordinary_boxes_warn_of_nothing(low, high, recwarn):
    small_model(BoxEnv(action_space=spaces.Box(low, high, (2,), np.float32)))
    assert not [w for w in recwarn if "action box" in str(w.message)]


# --- Numbers that are not finite ---

BAD = [float("nan"), float("inf"), float("-inf")]


def poison(model: QFlex, part: str, value: float, entry: tuple = ()) -> None:
    """One bad number in every transition, so that each batch meets it."""
    array = getattr(model.replay_buffer, part)
    array[(slice(None), slice(None), *entry)] = value


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    "part, entry, message",
    [
        ("observations", (1,), r"observations \(column 1\)"),
        ("next_observations", (2,), r"next_observations \(column 2\)"),
        ("actions", (0,), r"actions \(column 0\)"),
    ],
)
def test_numbers_from_the_buffer(part, entry, message, value, batch_norm):
    model = small_model(BoxEnv(), policy_kwargs={"batch_norm": batch_norm}).learn(30)
    poison(model, part, value, entry)
    with pytest.raises(ValueError, match=rf"Non-finite {message} at gradient step 11, after 30 environment steps"):
        model.train(gradient_steps=2, batch_size=8)
    assert all(bool(th.isfinite(tensor).all()) for tensor in parameters(model).values())


def test_bad_batches_touch_nothing_of_the_networks_that_see_them():
    model = small_model(BoxEnv()).learn(30)
    before = parameters(model)
    poison(model, "observations", float("nan"), (1,))
    poison(model, "next_observations", float("nan"), (0,))
    with pytest.raises(ValueError, match="Non-finite observations"):
        model.train(gradient_steps=3, batch_size=8)
    assert_same(before, parameters(model))
    # The error is reported once, and training can go on with sound data.
    poison(model, "observations", 0.1, (1,))
    poison(model, "next_observations", 0.1, (0,))
    model.train(gradient_steps=1, batch_size=8)


def test_rewards_from_the_environment():
    class BrokenEnv(BoxEnv):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, float("nan"), *rest

    # The guard of the environment comes first where it is on.
    model = small_model(BrokenEnv(), bad_states="off")
    before = parameters(model)
    with pytest.raises(ValueError, match=r"Non-finite rewards .* at gradient step 1, after 21 environment steps"):
        model.learn(100)
    after = parameters(model)
    for name, value in model.critic.named_parameters():
        assert th.equal(before[f"critic.{name}"], value), name
    assert all(bool(th.isfinite(tensor).all()) for tensor in after.values())


def test_dict_observations_name_their_key():
    model = small_model(bit_flipping(), "MultiInputPolicy").learn(25)
    model.replay_buffer.observations["desired_goal"] = model.replay_buffer.observations["desired_goal"].astype(float)
    model.replay_buffer.observations["desired_goal"][..., 3] = np.nan
    with pytest.raises(ValueError, match=r"observations\['desired_goal'\] \(column 3\)"):
        model.train(gradient_steps=1, batch_size=8)


def test_losses_that_overflow():
    model = small_model(BoxEnv()).learn(30)
    poison(model, "rewards", 1e30)  # its square is beyond float32
    before = parameters(model)
    with pytest.raises(ValueError, match="Non-finite critic loss at gradient step 11"):
        model.train(gradient_steps=1, batch_size=8)
    for name, value in model.critic.named_parameters():
        assert th.equal(before[f"critic.{name}"], value), name


def test_gradients_that_overflow():
    class Steep(th.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    model = small_model(BoxEnv()).learn(30)
    before = parameters(model)
    forward = model.field.forward
    model.field.forward = lambda *args: Steep.apply(forward(*args))
    with pytest.raises(ValueError, match="Non-finite gradient of the flow loss at gradient step 11"):
        model.train(gradient_steps=1, batch_size=8)
    for name, value in model.field.named_parameters():
        assert th.equal(before[f"field.{name}"], value), name


def test_unwrapped_environment_is_accepted():
    small_model(gym.make("Pendulum-v1").unwrapped).learn(5)
