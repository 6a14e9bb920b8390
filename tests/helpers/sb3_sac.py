"""SB3's SAC and one of ours that shall equal it, from the same weights and on the same transitions."""

from typing import Any

import numpy as np
import stable_baselines3
import torch as th
from helpers.small_models import BoxEnv

from sb3_qflex.sac.sac import SAC


def both(
    policy: Any = "MlpPolicy", env: Any = BoxEnv, policy_kwargs: Any = None, ours: Any = SAC, **options: Any
) -> tuple[Any, Any]:
    """SB3's and ours, with the same transitions in their replay buffers; ``options`` of ours alone by ``own``."""
    own = options.pop("own", {})
    kwargs = {"seed": 3, "device": "cpu", "learning_starts": 60, "buffer_size": 200, "learning_rate": 1e-3, **options}
    kwargs["policy_kwargs"] = {"net_arch": [16, 16], **(policy_kwargs or {})}
    theirs, mine = stable_baselines3.SAC(policy, env(), **kwargs), ours(policy, env(), **kwargs, **own)
    start = mine.policy.state_dict()
    for name, value in theirs.policy.state_dict().items():
        assert th.equal(value, start[name]), name
    for model in (theirs, mine):
        model.learn(50)  # random actions alone
    source, target = theirs.replay_buffer, mine.replay_buffer
    vars(target).update({name: value for name, value in vars(source).items() if isinstance(value, np.ndarray)})
    vars(target).update(pos=source.pos, full=source.full)
    return theirs, mine


def assert_equal_after_updates(theirs: Any, mine: Any, updates: int = 50) -> None:
    """Parameters, alpha and deterministic actions to 1e-6, after updates from the same draws."""
    for model in (theirs, mine):
        model._current_progress_remaining = 0.5
        th.manual_seed(0)
        np.random.seed(0)
        model.train(updates, batch_size=32)
    found = mine.policy.state_dict()
    for name, value in theirs.policy.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue  # SB3 leaves it out of the target critics, where nothing reads it
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)
    if theirs.ent_coef_optimizer is not None:
        np.testing.assert_allclose(mine.log_ent_coef.item(), theirs.log_ent_coef.item(), rtol=0, atol=1e-6)
    theirs.observation_space.seed(1)
    for _ in range(20):
        obs = theirs.observation_space.sample()
        actions = [model.predict(obs, deterministic=True)[0] for model in (theirs, mine)]
        np.testing.assert_allclose(actions[1], actions[0], rtol=0, atol=1e-6)
