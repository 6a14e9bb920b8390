"""MyoSuite's environments for the loop rows. Worker processes import this: nothing heavy at module level."""

from importlib.util import find_spec

import gymnasium as gym


def missing_myosuite() -> str | None:
    """Why MyoSuite's environments cannot be made; None if they can."""
    return None if find_spec("myosuite") else "MyoSuite is not installed: pip install 'sb3-qflex[myosuite]'"


def make_myosuite(env_id: str) -> gym.Env:
    """
    One environment with SB3's Monitor, as RL Zoo and ``make_vec_env`` make it, in a third of its memory, so that
    hundreds of them fit beside each other.

    :param env_id: MyoSuite's id.
    """
    import myosuite  # noqa: F401  # registers its environments
    from stable_baselines3.common.monitor import Monitor

    from sb3_qflex.envs.myo import WithoutModelSource

    return Monitor(WithoutModelSource(gym.make(env_id)))
