"""Training runs in every form that SB3's off-policy algorithms take."""

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, assert_same, bit_flipping, observations, parameters, small_model
from stable_baselines3.common.callbacks import (
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from sb3_qflex import QFlex, QFlexPolicy


@pytest.mark.parametrize(
    ("train_freq", "gradient_steps", "n_envs", "steps", "updates"),
    [
        # 20 steps before learning starts; updates begin at the first rollout that ends after those, and the last
        # rollout is a whole one.
        (1, 1, 1, 60, 40),
        ((5, "step"), 2, 1, 60, 16),
        (5, -1, 1, 60, 40),
        ((1, "episode"), 3, 1, 60, 12),
        ((2, "episode"), -1, 1, 60, 40),
        (1, 1, 4, 60, 10),
        ((2, "step"), 3, 4, 64, 3 * 6),
        (3, -1, 3, 63, 9 * 5),
        (1, 0, 1, 60, 0),
    ],
)
def test_number_of_updates(train_freq, gradient_steps, n_envs, steps, updates):
    env = make_vec_env(BoxEnv, n_envs)
    model = small_model(env, train_freq=train_freq, gradient_steps=gradient_steps).learn(60)
    assert model.num_timesteps == steps
    assert model._n_updates == updates


def test_defaults_train_on_pendulum():
    model = QFlex("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16]}, seed=0).learn(105)
    assert model._n_updates == 5
    assert model.replay_buffer.size() == 105


def test_every_network_learns():
    model = small_model()
    before = parameters(model)
    model.learn(40)
    for name, value in model.policy.named_parameters():
        assert not th.equal(before[name], value), name
    for name, value in model.policy.named_buffers():
        if name.endswith(("running_mean", "running_var", "steps")):
            assert not th.equal(before[name], value), name


def test_policy_delay_holds_back_actor_and_field():
    delayed = small_model(policy_delay=1000)
    before = parameters(delayed)
    delayed.learn(30)
    for name, value in parameters(delayed).items():
        assert th.equal(before[name], value) == (not name.startswith("critic")), name


@pytest.mark.parametrize("n_envs", [1, 2])
def test_seed_reproduces(n_envs):
    runs = [parameters(small_model(make_vec_env("Pendulum-v1", n_envs), seed=3).learn(50)) for _ in range(2)]
    assert_same(*runs)
    other = parameters(small_model(make_vec_env("Pendulum-v1", n_envs), seed=4).learn(50))
    assert not th.equal(runs[0]["actor.net.1.weight"], other["actor.net.1.weight"])


def test_deterministic_predictions_repeat_and_others_do_not():
    model = small_model().learn(40)
    obs = observations(model)
    first, second = (model.predict(obs, deterministic=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(model.predict(obs)[0], model.predict(obs)[0])


@pytest.mark.parametrize(
    "noise", [NormalActionNoise, OrnsteinUhlenbeckActionNoise], ids=["normal", "ornstein-uhlenbeck"]
)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_action_noise_stays_in_the_box(noise, n_envs):
    env = make_vec_env(IdentityEnvBox, n_envs)
    model = small_model(env, action_noise=noise(np.zeros(1), np.full(1, 2.0))).learn(60)
    stored = model.replay_buffer.actions[: model.replay_buffer.pos]
    assert np.abs(stored).max() == 1.0
    assert np.abs(stored).min() < 1.0


@pytest.mark.parametrize("n_envs", [1, 2, 3])
def test_action_noise_of_a_loaded_model_fits_its_new_environments(n_envs, tmp_path):
    noise = NormalActionNoise(np.zeros(1), np.full(1, 0.1))
    small_model(make_vec_env(IdentityEnvBox, 2), action_noise=noise).learn(30).save(tmp_path / "model")
    model = QFlex.load(tmp_path / "model", make_vec_env(IdentityEnvBox, n_envs), device="cpu")
    with pytest.warns(UserWarning, match="goes on without its replay buffer"):
        model.learn(30, reset_num_timesteps=False)
    assert model.replay_buffer.size() == 30 // n_envs


def test_learning_rate_schedule_reaches_every_optimizer():
    model = small_model(learning_rate=LinearSchedule(1e-3, 0.0, 1.0), ent_coef="auto").learn(40)
    rates = {group["lr"] for optimizer in model._optimizers() for group in optimizer.param_groups}
    # The last update ran with nothing left of the progress.
    assert rates == {0.0}
    assert len(model._optimizers()) == 4


def test_callbacks(tmp_path):
    evaluation = EvalCallback(
        make_vec_env("Pendulum-v1", 1), n_eval_episodes=1, eval_freq=30, best_model_save_path=tmp_path, verbose=0
    )
    checkpoints = CheckpointCallback(20, tmp_path, save_replay_buffer=True, name_prefix="qflex")
    small_model().learn(40, callback=CallbackList([evaluation, checkpoints]))
    assert evaluation.best_mean_reward < 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"best_model.zip", "qflex_20_steps.zip", "qflex_replay_buffer_40_steps.pkl"} <= names
    QFlex.load(tmp_path / "best_model.zip")


def test_callback_stops_training():
    model = small_model(BoxEnv()).learn(500, callback=StopTrainingOnMaxEpisodes(3))
    assert model.num_timesteps == 30


def test_function_as_callback_sees_the_loop():
    seen = []

    def callback(local_variables, _):
        seen.append(local_variables["buffer_actions"].dtype)
        return True

    small_model().learn(25, callback=callback)
    assert seen == [np.dtype("float32")] * 25


def test_progress_bar(capsys):
    small_model().learn(25, progress_bar=True)
    assert "25/25" in capsys.readouterr().out


@pytest.mark.parametrize(
    "policy_kwargs",
    [
        {"net_arch": {"pi": [8], "qf": [12, 10], "field": [6, 6, 6]}},
        {"net_arch": {"qf": [12]}, "activation_fn": nn.Tanh},
        {"net_arch": []},
        {"n_critics": 1},
        {"n_critics": 3, "batch_norm": False},
        {"share_features_extractor": True},
        {"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}},
        {"batch_norm_momentum": 0.1, "batch_norm_eps": 1e-3, "renorm_warmup_steps": 3},
    ],
    ids=str,
)
def test_policy_kwargs(policy_kwargs, tmp_path):
    model = small_model(policy_kwargs=policy_kwargs).learn(45)
    model.save(tmp_path / "model")
    loaded = QFlex.load(tmp_path / "model", device="cpu")
    assert_same(parameters(model), parameters(loaded))
    obs = observations(model)
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (model, loaded)))


def test_net_arch_gives_each_network_its_layers():
    model = small_model(policy_kwargs={"net_arch": {"pi": [8], "qf": [12, 10], "field": [6, 6, 6]}})
    widths = [
        [layer.out_features for layer in net if isinstance(layer, nn.Linear)]
        for net in (model.actor.net, model.critic.q_networks[0], model.field.net)
    ]
    assert widths == [[8, 2], [12, 10, 1], [6, 6, 6, 1]]


class NarrowPolicy(QFlexPolicy):
    """A subclass with an option of its own."""

    def __init__(self, *args, width: int = 4, **kwargs):
        super().__init__(*args, **{**kwargs, "net_arch": [width]})


def test_custom_policy_class():
    model = small_model(policy=NarrowPolicy, policy_kwargs={"width": 5}).learn(30)
    assert model.field.net[1].out_features == 5


def test_train_needs_no_environment_steps():
    model = small_model().learn(30)
    updates = model._n_updates
    model.train(gradient_steps=3, batch_size=16)
    assert model._n_updates == updates + 3


def test_get_and_set_parameters():
    source, target = small_model(seed=1, ent_coef="auto").learn(40), small_model(seed=2, ent_coef="auto")
    obs = observations(source)
    given = source.get_parameters()
    assert set(given) == {"policy", "actor.optimizer", "critic.optimizer", "field.optimizer", "ent_coef_optimizer"}
    before = target.predict(obs, deterministic=True)[0]
    target.set_parameters(given)
    after = target.predict(obs, deterministic=True)[0]
    np.testing.assert_array_equal(after, source.predict(obs, deterministic=True)[0])
    assert not np.array_equal(after, before)
    with pytest.raises(ValueError, match="do not match"):
        target.set_parameters({"policy": given["policy"]})
    with pytest.raises(ValueError, match="invalid object name"):
        target.set_parameters({"no_such_part": given["policy"]}, exact_match=False)
    partial = {name: value for name, value in given["policy"].items() if name.startswith("actor")}
    target.set_parameters({"policy": partial}, exact_match=False)


def test_dict_observations_without_her():
    model = small_model(bit_flipping(), "MultiInputPolicy").learn(40)
    obs = observations(model)
    actions, _ = model.predict(obs, deterministic=True)
    assert actions.shape == (16, 4)
    assert model.action_space.contains(actions[0])
