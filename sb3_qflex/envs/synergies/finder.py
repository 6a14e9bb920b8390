"""What ``sb3-qflex synergies`` does: record, compare, cluster, and keep how it was done."""

import hashlib
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.envs.synergies.clustering import find_groups, similarity
from sb3_qflex.envs.synergies.groups import Groups
from sb3_qflex.envs.synergies.recording import Motion, muscle_model, record_lengths

#: What decides how the lengths of muscles follow from a posture, and which postures there are.
_HASHED = ("body_parentid", "body_pos", "jnt_type", "jnt_bodyid", "jnt_pos", "jnt_axis", "jnt_range", "site_bodyid",
           "site_pos", "tendon_adr", "tendon_num", "wrap_type", "wrap_objid", "wrap_prm", "actuator_trntype",
           "actuator_trnid", "actuator_gear")  # fmt: skip


def synergies(env: gym.Env, k: int, steps: int, seed: int, motion: Motion) -> dict[str, Any]:
    """
    Find groups of muscles whose lengths move together.

    :param env: An environment on a MuJoCo model with muscles
    :param k: Number of groups
    :param steps: Steps of the recording; the paper has 500 000
    :param seed: Of the recording, and the first of the clusterings'
    :param motion: How joints are moved
    :return: "groups", the matrix "similarity" (rounded to 4 digits), and all that they came from, as JSON knows it
    :raises ValueError: If there are no muscles, k is more than their number, or the steps are too few
    """
    model = muscle_model(env)
    if not 1 <= k <= model.nu:
        raise ValueError(f"k={k}: choose from 1 to {model.nu} groups, the number of actuators.")
    digest = model_hash(model)
    lengths, divergences = record_lengths(env, steps, seed, motion)
    matrix = similarity(lengths)
    return {
        "groups": find_groups(matrix, k, seed),
        "k": k,
        "actuators": [model.actuator(index).name for index in range(model.nu)],
        "env": env.spec.id if env.spec else str(env),
        "model_sha256": digest,
        "mujoco": mujoco.__version__,
        "seed": seed,
        "steps": steps,
        **vars(motion),
        "divergences": divergences,
        "similarity": matrix.round(4).tolist(),
    }


def model_hash(model: mujoco.MjModel) -> str:
    """
    :param model: A model
    :return: SHA-256 of its actuators' names and of the geometry that they pull on, to a micrometre; without masses,
        options and pictures
    """
    sha = hashlib.sha256("\n".join(model.actuator(index).name for index in range(model.nu)).encode())
    for name in _HASHED:
        values = np.asarray(getattr(model, name), dtype=np.float64)
        sha.update(f"{name}{values.shape}".encode())
        # Without -0.
        sha.update((values.round(6) + 0.0).tobytes())
    return sha.hexdigest()


def write(found: dict[str, Any], path: Path, command: str) -> list[Path]:
    """
    :param found: Of :func:`synergies`
    :param path: The JSON file; the picture is put beside it, with the suffix .png
    :param command: What made it, which goes into the file
    :return: Both files
    """
    text = json.dumps({"command": command, **found})
    picture = io.BytesIO()
    draw(np.asarray(found["similarity"]), found["groups"], f"{found['env']}: {found['k']} groups").savefig(
        picture, format="png", dpi=150
    )
    return [
        write_atomically(path, text.encode(), "json"),
        write_atomically(path.with_suffix(".png"), picture.getvalue(), "png"),
    ]


def draw(matrix: NDArray[np.float64], groups: Groups, title: str) -> Figure:
    """
    :param matrix: R, shape (\\|A\\|, \\|A\\|)
    :param groups: What to order it by
    :param title: Of the picture
    :return: The ordered matrix with a frame around each group
    """
    order = np.concatenate([np.asarray(group) for group in groups])
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix[np.ix_(order, order)], cmap="viridis", interpolation="nearest")
    edges = np.cumsum([0, *map(len, groups)]) - 0.5
    for low, high in pairwise(edges.tolist()):
        axes.plot([low, high, high, low, low], [low, low, high, high, low], color="white", linewidth=0.6)
    axes.set(title=title, xlabel="muscle, ordered by group", ylabel="muscle, ordered by group")
    figure.colorbar(image, label="similarity R of lengths")
    return figure
