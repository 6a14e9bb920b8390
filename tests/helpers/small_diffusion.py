"""Tiny models of the methods that act by chains, for the tests that they share."""

from typing import Any

from helpers.small_models import BoxEnv


def small_diffusion(cls: Any, env: Any = None, policy: str = "MlpPolicy", **options: Any) -> Any:
    """One hidden layer of 16 units, two particles and three steps, and whatever else is asked for."""
    policy_kwargs = {"net_arch": [16], **options.pop("policy_kwargs", {})}
    arguments = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "n_particles": 2, "diffusion_steps": 3}
    arguments |= {"seed": 0, "device": "cpu", **options}
    return cls(policy, BoxEnv() if env is None else env, policy_kwargs=policy_kwargs, **arguments)
