"""A run folder as RL Zoo leaves it, written by hand so that no test has to train for it."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import yaml
from helpers.small_models import small_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import VecNormalize

import sb3_qflex.envs  # noqa: F401 registers the ids

ENV, ENV_KWARGS = "PlanarChain-v0", {"n_links": 3}
RETURNS = [-40.0 + number for number in range(20)]
EVALUATIONS = [[-30.0, -20.0], [-10.0, -14.0], [-16.0, -18.0]]
SUPERIORITY = [0.25, 0.5, 0.75]


def write_run(logs: Path, normalize: bool = False, algo: str = "qflex") -> Path:
    """
    :param logs: log folder
    :param normalize: with statistics of VecNormalize
    :param algo: as which algorithm it counts
    :return: the run folder, ``logs/qflex/PlanarChain-v0_1``
    """
    folder = logs / algo / f"{ENV}_1"
    settings = folder / ENV
    settings.mkdir(parents=True)
    args = {"algo": algo, "env": ENV, "env_kwargs": ENV_KWARGS, "gym_packages": []}
    config = {"n_timesteps": 1000, "policy_kwargs": "dict(net_arch=[16])", "normalize": normalize, "note": "<b>&"}
    for name, values in (("args.yml", args), ("config.yml", config)):
        (settings / name).write_text(yaml.dump(OrderedDict(sorted(values.items()))))
    (settings / "command.txt").write_text("sb3-qflex train --algo qflex '<script>'")
    _write_returns(folder)
    env = make_vec_env(ENV, env_kwargs=ENV_KWARGS)
    if normalize:
        env = VecNormalize(env, norm_reward=False)
        env.obs_rms.mean += 0.1
        env.save(str(settings / "vecnormalize.pkl"))
    small_model(env).save(folder / f"{ENV}.zip")
    env.close()
    return folder


def _write_returns(folder: Path) -> None:
    writer = ResultsWriter(str(folder / "0.monitor.csv"), header={"t_start": 0.0})
    for number, value in enumerate(RETURNS):
        writer.write_row({"r": value, "l": 50, "t": float(number)})
    writer.close()
    steps = [300, 600, 900]
    np.savez(folder / "evaluations.npz", timesteps=steps, results=EVALUATIONS, successes=[[0, 0], [1, 1], [1, 0]])
    rows = [f"{step},{share},0.1,,{step / 10}" for step, share in zip(steps, SUPERIORITY, strict=True)]
    header = "time/total_timesteps,train/flow_superiority,train/flow_loss,eval/mean_reward,time/time_elapsed"
    (folder / "progress.csv").write_text("\n".join([header, *rows, "950,,,-17.0,95"]) + "\n")
