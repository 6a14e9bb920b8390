"""Policy files: the same policy comes back, nothing is unpickled, and whatever is wrong is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_qflex import QFlexPolicy
from sb3_qflex.export import load_vec_normalize, policy_file
from sb3_qflex.export.policy_config import space_from_json, space_to_json

SPACES = {
    "box": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "bounds": spaces.Box(np.array([-0.1, -np.inf, 1e-45]), np.array([0.3, np.inf, 1e300]), dtype=np.float64),
    "matrix": spaces.Box(-1.0, 0.1, (2, 3), np.float16),
    "integers": spaces.Box(-(2**62) - 1, 2**62 + 1, (2,), np.int64),
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([4, 3]),
    "multi-binary": spaces.MultiBinary((2, 3)),
}
SPACES["dict"] = spaces.Dict(SPACES)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_spaces_come_back_exactly(space):
    again = space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False)))
    assert again == space and again.dtype == space.dtype
    if isinstance(space, spaces.Dict):
        assert list(again.spaces) == list(space.spaces)


def load(path, cls=QFlexPolicy):
    """Load a policy where nothing can be unpickled."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a pickle was opened")

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (th, "load")):
            patch.setattr(module, name, refuse)
        return cls.load(path, device="cpu")


OPTIONS = {
    "defaults": {},
    "options": {
        "exploration": "ascent",
        "preconditioner": np.array([1.0, 2.0]),
        "guidance_step_size": 0.1,
        "guidance_dtype": "bfloat16",
        "policy_kwargs": {
            "net_arch": {"pi": [8], "qf": np.array([8, 8]), "field": []},
            "activation_fn": nn.Tanh,
            "n_critics": 3,
            "batch_norm_eps": 1e-3,
        },
    },
    "rms": {"preconditioner": "rms", "policy_kwargs": {"batch_norm": False, "share_features_extractor": True}},
    "dict": {"policy": "MultiInputPolicy"},
    "source": {"exploration": "source", "action_space": spaces.Box(-0.1, 0.7, (2, 2), np.float64)},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_the_policy_comes_back_without_pickles(case, tmp_path):
    options = dict(OPTIONS[case])
    env = ReachEnv() if case == "dict" else BoxEnv(action_space=options.pop("action_space", None))
    model = small_model(env, **options).learn(30)
    file = model.policy.export_policy(tmp_path / "policy")
    assert file == tmp_path / "policy.safetensors"
    loaded = load(file, QFlexPolicy)
    assert_same(dict(model.policy.state_dict()), dict(loaded.state_dict()))
    assert (loaded.observation_space, loaded.action_space) == (model.observation_space, model.action_space)
    for name in (
        "exploration",
        "flow_steps",
        "guidance_steps",
        "guidance_step_size",
        "guidance_dtype",
        "activation_fn",
    ):
        assert getattr(loaded, name) == getattr(model.policy, name), name
    obs = observations(model)
    for deterministic in (True, False):
        actions = []
        for policy in (model.policy, loaded):
            th.manual_seed(3)
            actions.append(policy.predict(obs, deterministic=deterministic)[0])
        np.testing.assert_array_equal(*actions)
    # Once more, from what was loaded.
    again = loaded.export_policy(tmp_path / "again.safetensors")
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("keys", [None, ["observation"]], ids=["box", "dict"])
def test_the_statistics_of_vec_normalize_come_with_it(keys, tmp_path):
    make = BoxEnv if keys is None else ReachEnv
    env = VecNormalize(make_vec_env(make, 2), norm_obs_keys=keys, clip_obs=2.0, epsilon=1e-3)
    model = small_model(env, "MlpPolicy" if keys is None else "MultiInputPolicy").learn(30)
    file = model.policy.export_policy(tmp_path / "policy", env, task="mine")
    wrapped = load_vec_normalize(file, make_vec_env(make, 1))
    raw = observations(model)
    expected, found = env.normalize_obs(raw), wrapped.normalize_obs(raw)
    for key in raw if keys else [None]:
        np.testing.assert_array_equal(*((expected, found) if key is None else (expected[key], found[key])))
    assert not wrapped.training and not wrapped.norm_reward
    with pytest.warns(UserWarning, match="observations that VecNormalize has normalised"):
        load(file)
    with pytest.raises(ValueError, match="another task"):
        load_vec_normalize(file, make_vec_env("Pendulum-v1" if keys else lambda: BoxEnv(spaces.Box(-1, 1, (5,))), 1))
    without = model.policy.export_policy(tmp_path / "without")
    with pytest.raises(ValueError, match="has no statistics"):
        load_vec_normalize(without, make_vec_env(make, 1))


class OwnExtractor(FlattenExtractor):
    pass


class OwnPolicy(QFlexPolicy):
    pass


class OwnReLU(nn.ReLU):
    pass


@pytest.mark.parametrize(
    "options, named",
    [
        ({"policy_kwargs": {"features_extractor_class": OwnExtractor}}, "features extractor OwnExtractor"),
        ({"policy_kwargs": {"activation_fn": OwnReLU}}, "activation OwnReLU"),
        ({"policy": OwnPolicy}, "code of OwnPolicy"),
    ],
)
def test_a_policy_with_code_of_its_own_is_refused(options, named, tmp_path):
    model = small_model(BoxEnv(), **options)
    with pytest.raises(ValueError, match=f"cannot carry the {named}"):
        model.policy.export_policy(tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_is_that_of_the_format(tmp_path):
    with pytest.raises(ValueError, match=r"ends with \.safetensors"):
        small_model(BoxEnv()).policy.export_policy(tmp_path / "policy.pkl")


# --- Whatever is wrong ---


@pytest.fixture(scope="module")
def policy():
    return small_model(BoxEnv(), policy_kwargs={"net_arch": [4]}).policy


@pytest.fixture(scope="module")
def file(policy, tmp_path_factory) -> Path:
    return policy.export_policy(tmp_path_factory.mktemp("policy") / "policy")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("broken") / "policy.safetensors"


def test_every_byte_region(file, broken, policy):
    content = file.read_bytes()
    generator = np.random.default_rng(0)
    # A prime stride meets all positions within tensors and header words.
    for position in range(0, len(content), 17):
        damaged = bytearray(content)
        damaged[position] ^= int(generator.integers(1, 256))
        broken.write_bytes(damaged)
        with pytest.raises(ValueError, match="policy"):
            load(broken)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_cut_overwritten_and_foreign_bytes(data, file, broken):
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["cut", "overwrite", "insert", "random"]))
    noise = data.draw(st.binary(min_size=1, max_size=64))
    damaged = {
        "cut": content[:start],
        "overwrite": content[:start] + noise + content[start + len(noise) :],
        "insert": content[:start] + noise + content[start:],
        "random": noise,
    }[kind]
    if damaged == content:
        return
    broken.write_bytes(damaged)
    with pytest.raises(ValueError, match="policy"):
        load(broken)


def test_a_pickle_is_never_opened_under_the_name_of_a_policy_file(policy, broken):
    broken.write_bytes(pickle.dumps(policy.state_dict()))
    with pytest.raises(ValueError, match="no whole policy file"):
        load(broken)
    policy.save(str(broken))
    with pytest.raises(ValueError, match="no whole policy file"):
        load(broken)
    # Under another name, a bare pickle, which save does not write, is not opened either.
    other = broken.with_suffix(".pkl")
    other.write_bytes(pickle.dumps(1))
    with pytest.raises(ValueError, match="no whole policy file"):
        load(other)


def test_no_file(tmp_path):
    for name in ("policy.safetensors", "policy"):
        with pytest.raises(FileNotFoundError):
            load(tmp_path / name)


def forge(file, target, change_config=lambda config: None, change_tensors=lambda tensors: None, **header):
    """A file with a right checksum and whatever else is asked for."""
    with safe_open(str(file), framework="pt") as opened:
        config = json.loads(json.loads(opened.metadata()[policy_file.HEADER])["config"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    change_config(config)
    change_tensors(tensors)
    text = json.dumps(config)
    whole = {"version": 1, "config": text, "sha256": policy_file._digest(text, tensors), **header}
    target.write_bytes(save(tensors, {policy_file.HEADER: json.dumps(whole)}))


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(config):
        for name in path:
            config = config[name]
        config[last] = value

    return change


HUGE = 10**12
FORGED = {
    "unknown activation": (put("policy", "activation_fn", "os.system"), "activation_fn='os.system' is unknown"),
    "unknown extractor": (put("policy", "features_extractor_class", "NatureCNN"), "NatureCNN' is unknown"),
    "unknown argument": (put("policy", "optimizer_class", "Adam"), "optimizer_class"),
    "no arguments": (put("policy", None), "arguments"),
    "huge networks": (put("policy", "net_arch", [HUGE]), "its networks need"),
    "too many layers": (put("policy", "net_arch", [4] * 5), "missing"),
    "too many critics": (put("policy", "n_critics", HUGE), "more networks than the file has tensors"),
    "wrong widths": (put("policy", "net_arch", ["4"]), "width"),
    "wrong type": (put("policy", "batch_norm", "yes"), "batch_norm has to be of type bool, not 'yes'"),
    "wrong value": (put("policy", "exploration", "flwo"), "did you mean 'flow'"),
    "huge space": (put("policy", "observation_space", "shape", [HUGE]), "reshape"),
    "huge one-hot": (
        put("policy", "observation_space", {"kind": "Discrete", "n": HUGE, "start": 0}),
        "its networks need",
    ),
    "other space": (put("policy", "observation_space", {"kind": "Text"}), "kind of space='Text' is unknown"),
    "wrong bounds": (put("policy", "action_space", "low", ["a", "b"]), "could not convert"),
    "object dtype": (put("policy", "action_space", "dtype", "object"), "dtype of a space='object' is unknown"),
    "discrete actions": (
        put("policy", "action_space", {"kind": "Discrete", "n": 2, "start": 0}),
        "action space has to be a Box",
    ),
    "wrong normalisation": (put("vec_normalize", {"keys": ["obs"]}), "'epsilon' and 'clip_obs'"),
    "no statistics": (put("vec_normalize", {"keys": ["obs"], "epsilon": 1.0, "clip_obs": 1.0}), "missing or too many"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_configurations_are_refused(case, file, broken):
    change, message = FORGED[case]
    forge(file, broken, change)
    with pytest.raises(ValueError, match=message):
        load(broken)


def test_forged_tensors_and_versions_are_refused(file, broken):
    name = "policy.field.net.1.weight"
    changes = {
        r"missing \['field.net.1.weight'\]": lambda tensors: tensors.pop(name),
        r"unknown \['more'\]": lambda tensors: tensors.update({"policy.more": th.zeros(1)}),
        "missing or too many": lambda tensors: tensors.update(more=th.zeros(1)),
        "torch.float64 of shape": lambda tensors: tensors.update({name: tensors[name].double()}),
        "of shape .* need torch.float32": lambda tensors: tensors.update({name: tensors[name].t().contiguous()}),
    }
    for message, change in changes.items():
        forge(file, broken, change_tensors=change)
        with pytest.raises(ValueError, match=message):
            load(broken)
    forge(file, broken, version=2)
    with pytest.raises(ValueError, match="version 2 of the policy format"):
        load(broken)
    broken.write_bytes(save({"weight": th.zeros(1)}))
    with pytest.raises(ValueError, match="not a policy of sb3_qflex"):
        load(broken)
    forge(file, broken)
    load(broken)
