"""Same seed, machine and number of threads: the same training, bit for bit, whatever steps the environments."""

from typing import Any

import pytest
from helpers.checkpoint_samples import assert_equal, everything
from helpers.small_models import small_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
from sb3_qflex.vec_env import WorkerVecEnv

N_ENVS = 3
# Not compared: PlanarChainVecEnv has no Monitor, and Monitor no generator.
CURVES = ("parameters", "replay", "place", "last")


def workers(env_id: str, n_workers: int, **kwargs: Any) -> VecEnv:
    options = {"n_workers": n_workers, "start_method": "fork"}
    return make_vec_env(env_id, N_ENVS, vec_env_cls=WorkerVecEnv, vec_env_kwargs=options, **kwargs)


def chains(n_envs: int = N_ENVS, **kwargs: Any) -> VecEnv:
    return make_vec_env("PlanarChain-v0", n_envs, env_kwargs={"n_links": 3}, **kwargs)


def curve(env: VecEnv) -> dict[str, Any]:
    model = small_model(VecNormalize(env), learning_starts=12)
    try:
        result = everything(model.learn(48))
    finally:
        env.close()
    return result


KINDS = {
    "one": lambda: chains(1),
    "dummy": chains,
    "one worker": lambda: workers("PlanarChain-v0", 1, env_kwargs={"n_links": 3}),
    "two workers": lambda: workers("PlanarChain-v0", 2, env_kwargs={"n_links": 3}),
    "vectorised": lambda: PlanarChainVecEnv(N_ENVS, n_links=3),
}


@pytest.fixture(scope="module")
def first() -> dict[str, dict[str, Any]]:
    return {kind: curve(make()) for kind, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_training(kind, first):
    assert_equal(curve(KINDS[kind]()), first[kind])


@pytest.mark.parametrize("kind", ["one worker", "two workers", "vectorised"])
def test_every_vec_env_gives_the_training_of_dummy_vec_env(kind, first):
    for name in CURVES:
        assert_equal(first[kind][name], first["dummy"][name], name)


def test_another_seed_gives_another_training(first):
    model = small_model(VecNormalize(chains()), learning_starts=12, seed=1).learn(48)
    with pytest.raises(AssertionError):
        assert_equal(everything(model)["replay"], first["dummy"]["replay"])
