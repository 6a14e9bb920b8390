"""Random models: what they are made of, and what must hold for each."""

import io
import math
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, observations, parameters
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

import sb3_qflex
from sb3_qflex import QFlex

_OURS = str(Path(sb3_qflex.__file__).parent)
_FLOATS = (np.float16, np.float32, np.float64)


class Case(NamedTuple):
    """Arguments of one model and of its environment."""

    observation_space: spaces.Space
    action_space: spaces.Space
    n_envs: int
    options: dict[str, Any]


@st.composite
def boxes(draw: st.DrawFn, max_size: int, dtypes: Any = _FLOATS, limit: float = 1e6) -> spaces.Box:
    """Boxes with bounds of any sign and width up to a limit, some as narrow as their type allows."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    limit = min(limit, float(np.finfo(dtype).max) / 4.0)
    size = draw(st.integers(1, max_size))
    shape = draw(st.sampled_from([(size,), (size, 1), (1, size)]))
    center = draw(st.floats(-limit / 2, limit / 2))
    width = draw(st.sampled_from([1e-3, 0.5, 1.0, 2.0, 100.0, limit / 2]))
    low = np.full(shape, center - width / 2).astype(dtype)
    # Where the width is lost in rounding, the next number of the type.
    high = np.maximum(np.full(shape, center + width / 2).astype(dtype), np.nextafter(low, dtype.type(np.inf)))
    return spaces.Box(low, high, dtype=dtype)


@st.composite
def strange_boxes(draw: st.DrawFn) -> spaces.Box:
    """What is refused as an action space."""
    kind = draw(st.sampled_from(["unbounded", "no width", "integers", "empty"]))
    size = draw(st.integers(1, 4))
    if kind == "unbounded":
        return spaces.Box(-np.inf, 1.0, (size,), np.float32)
    if kind == "integers":
        return spaces.Box(-5, 5, (size,), np.int32)
    if kind == "empty":
        return spaces.Box(-1.0, 1.0, (0,), np.float32)
    return spaces.Box(1.0, 1.0, (size,), np.float32)


ACTION_SPACES = st.one_of(
    boxes(6),
    boxes(6),
    boxes(300),
    boxes(6),
    boxes(300),
    st.one_of(strange_boxes(), st.builds(spaces.Discrete, st.integers(1, 5))),
)
_GOOD_PARTS = st.one_of(
    boxes(8),
    boxes(8),
    boxes(8),
    st.just(spaces.Box(-np.inf, np.inf, (3,), np.float32)),
    st.builds(lambda size: spaces.Box(-5, 5, (size,), np.int16), st.integers(1, 4)),
    st.builds(spaces.Discrete, st.integers(1, 6)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 4)),
)
_BAD_PARTS: list[spaces.Space] = [spaces.Discrete(3, start=1), spaces.Text(4), spaces.Dict({"a": spaces.Discrete(2)})]


def mostly(good: st.SearchStrategy, bad: list[Any]) -> st.SearchStrategy:
    """One in thirty is bad."""
    return st.integers(0, 29).flatmap(lambda n: st.sampled_from(bad) if n == 7 else good)


_PARTS = mostly(_GOOD_PARTS, _BAD_PARTS)
OBSERVATION_SPACES = st.one_of(
    _PARTS, _PARTS, st.dictionaries(st.sampled_from(["a", "b", "c"]), _PARTS, min_size=1).map(spaces.Dict)
)
_NOT_COUNTS = [0, -1, 1.5, "3", None, True]
_NOT_NUMBERS = [-1.0, math.nan, math.inf, "x", None]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any model, with an option out of range now and then."""
    observation_space, action_space = draw(OBSERVATION_SPACES), draw(ACTION_SPACES)
    size = max(int(np.prod(action_space.shape or (1,))), 1)
    metric = st.sampled_from([None, "rms", np.linspace(0.1, 2.0, size), [1.0] * size])
    is_box = isinstance(observation_space, spaces.Box)
    options = {
        "batch_size": draw(mostly(st.integers(2, 64), [*_NOT_COUNTS, 1])),
        "flow_steps": draw(mostly(st.integers(1, 4), _NOT_COUNTS)),
        "guidance_steps": draw(mostly(st.integers(1, 4), _NOT_COUNTS)),
        "guidance_step_size": draw(mostly(st.sampled_from([1e-3, 0.01, 10.0]), [*_NOT_NUMBERS, 0.0])),
        "guidance_dtype": draw(mostly(st.sampled_from(["float32", "bfloat16"]), ["float16", None])),
        "gamma": draw(mostly(st.sampled_from([0.0, 0.5, 0.99, 1.0]), [*_NOT_NUMBERS, 1.1])),
        "learning_rate": draw(mostly(st.sampled_from([1e-5, 3e-4, 0.1]), _NOT_NUMBERS)),
        "policy_delay": draw(mostly(st.integers(1, 3), _NOT_COUNTS)),
        "n_steps": draw(mostly(st.sampled_from([1, 3] if is_box else [1]), [*_NOT_COUNTS, 3])),
        "bootstrap": draw(mostly(st.sampled_from(["source", "flow"]), ["flwo", None])),
        "exploration": draw(mostly(st.sampled_from(["flow", "source", "ascent"]), ["", 3])),
        "preconditioner": draw(mostly(metric, ["rsm", [1.0] * (size + 1), [-1.0] * size])),
        "ent_coef": draw(mostly(st.sampled_from([0.0, 0.1, "auto", "auto_0.5"]), [-1.0, "auto_x", None])),
        "bad_states": draw(mostly(st.sampled_from(["raise", "truncate", "off"]), ["ignore", None])),
        "divergence_factor": draw(mostly(st.sampled_from([None, 1.0, 100.0]), [0.5, math.nan, "x"])),
        "optimize_memory_usage": draw(mostly(st.just(False), [True])),
        "policy_kwargs": {
            "net_arch": draw(mostly(st.lists(st.integers(1, 6), max_size=2), [[0], {"vf": [2]}, [2.5]])),
            "n_critics": draw(mostly(st.integers(1, 3), _NOT_COUNTS)),
            "batch_norm": draw(st.booleans()),
        },
    }
    parts = observation_space.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    # SB3's VecEnvs fail on some spaces before QFlex sees them; a single environment comes to QFlex as it is.
    n_envs = 1 if any(part in _BAD_PARTS for part in parts) else draw(st.integers(1, 4))
    return Case(observation_space, action_space, n_envs, options)


def build(case: Case) -> QFlex | None:
    """
    The model; None where it is refused by an error of ours.

    :raises AssertionError: If the error is not ours, or says nothing
    """
    policy = "MultiInputPolicy" if isinstance(case.observation_space, spaces.Dict) else "MlpPolicy"

    def make() -> BoxEnv:
        return BoxEnv(case.observation_space, case.action_space)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = make() if case.n_envs == 1 else DummyVecEnv([make] * case.n_envs)
            return QFlex(
                policy,
                env,
                buffer_size=64,
                learning_starts=3 * case.n_envs,
                seed=0,
                device="cpu",
                **case.options,
            )
    except (ValueError, TypeError) as error:
        assert_clear(error)
        return None


def assert_clear(error: Exception) -> None:
    """An error raised by our own code that names what was given."""
    frames = traceback.extract_tb(error.__traceback__)
    assert frames[-1].filename.startswith(_OURS), f"raised by {frames[-1]}: {error!r}"
    assert len(str(error)) > 20, repr(error)


def check_predictions(model: QFlex) -> None:
    """Every action is inside the box and of its type, sampled or not."""
    obs = observations(model, 3)
    box = model.action_space
    for deterministic in (True, False):
        actions = model.predict(obs, deterministic=deterministic)[0]
        assert actions.shape == (3, *box.shape) and actions.dtype == box.dtype
        assert np.isfinite(actions).all() and (actions >= box.low).all() and (actions <= box.high).all()


def check_update(model: QFlex) -> None:
    """One gradient step changes the networks that it trains, to finite values, and no other."""
    before = parameters(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.learn(4 * model.n_envs)
        except ValueError as error:
            # Such as a loss that overflows.
            assert_clear(error)
    assert model._n_updates == 1
    allowed = {"critic"}
    if model.policy_delay == 1:
        allowed |= {"actor"} | ({"field"} if "flow" in (model.exploration, model.bootstrap) else set())
    for name, value in parameters(model).items():
        assert bool(th.isfinite(value).all()), name
        network = name.split(".")[0]
        if network in ("critic", "actor", "field") and network not in allowed:
            assert th.equal(value, before[name]), name
    assert not any(module.training for module in model.policy.modules())


def check_round_trip(model: QFlex) -> None:
    """Saved and loaded, the model has the same parameters and acts the same."""
    stream = io.BytesIO()
    model.save(stream)
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = QFlex.load(stream, device="cpu")
    theirs = parameters(loaded)
    for name, value in parameters(model).items():
        assert th.equal(value, theirs[name]), name
    obs = observations(model, 3)
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (model, loaded)))
