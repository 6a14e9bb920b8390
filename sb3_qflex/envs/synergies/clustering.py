"""From lengths to groups: similarity of muscles, and k-medoids (arXiv 2407.11472)."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from sb3_qflex.common.validation import check_count

WINDOW = 100
SEEDS = 20
_SWEEPS = 10_000
# Of the longest length: what a muscle's may change by rounding alone.
_STILL = 1e-5


def similarity(lengths: NDArray[np.floating], window: int = WINDOW) -> NDArray[np.float64]:
    """
    R: the uncentred cosine of each two muscles' lengths, each scaled to [0, 1] over the recording, averaged over
    windows. It rates antagonists 0.5 and unrelated muscles 0.75.

    :param lengths: Shape (T, \\|A\\|)
    :param window: Steps of a window; what is left at the end is not used
    :return: Shape (\\|A\\|, \\|A\\|); muscles that never move are similar to each other alone, 1
    :raises ValueError: If there is not one whole window
    """
    n_windows = len(lengths) // window
    if n_windows < 1:
        raise ValueError(f"{len(lengths)} steps are less than one window of {window}: record more steps.")
    low, high = lengths.min(axis=0), lengths.max(axis=0)
    # The paper's measure does not know them: without a range of their own they have no place in [0, 1].
    moves = high - low > _STILL * np.abs(lengths).max()
    width = np.where(moves, high - low, np.inf)
    total = np.zeros((lengths.shape[1], lengths.shape[1]))
    for rows in lengths[: n_windows * window].reshape(n_windows, window, -1):
        scaled = (rows - low).astype(np.float64) / width
        norm = np.linalg.norm(scaled, axis=0)
        scaled /= np.where(norm > 0.0, norm, 1.0)
        total += scaled.T @ scaled
    return np.where(moves | moves[:, None], total / n_windows, 1.0)


def k_medoids(distances: NDArray[np.float64], k: int, seed: int) -> tuple[float, NDArray[np.intp]]:
    """
    k-medoids by swaps that are made as soon as they help, each looked at for all medoids at once (FasterPAM,
    Schubert & Rousseeuw, arXiv 2008.05171), from medoids drawn at random.

    :param distances: Shape (n, n), symmetric
    :param k: Number of medoids, 1 to n
    :param seed: Of the first medoids
    :return: Sum of distances to the nearest medoid, and its number for each point, (n,)
    """
    n = len(distances)
    medoids = np.random.default_rng(seed).permutation(n)[:k]
    owner, nearest, second = _assign(distances, medoids)
    unchanged = 0
    for candidate in (one for _ in range(_SWEEPS) for one in range(n)):
        if unchanged == n:
            break
        unchanged += 1
        if candidate in medoids:
            continue
        to_candidate = distances[candidate]
        closer = to_candidate < nearest
        # What the candidate gains if no medoid goes, and what each medoid costs if it goes for the candidate.
        gain = np.minimum(to_candidate - nearest, 0.0).sum()
        cost = np.where(closer, 0.0, np.minimum(to_candidate, second) - nearest)
        change = np.bincount(owner, weights=cost, minlength=k) + gain
        best = int(np.argmin(change))
        if change[best] < -1e-12:
            medoids[best] = candidate
            owner, nearest, second = _assign(distances, medoids)
            unchanged = 0
    return float(nearest.sum()), owner


def _assign(
    distances: NDArray[np.float64], medoids: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """The nearest medoid of each point, the distance to it, and to the next one (infinite for k = 1)."""
    to_medoids = distances[:, medoids]
    # A medoid is its own, also where others lie at distance 0.
    to_medoids[medoids, np.arange(len(medoids))] = -1.0
    owner = to_medoids.argmin(axis=1)
    to_medoids[medoids, np.arange(len(medoids))] = 0.0
    rows = np.arange(len(distances))
    nearest = to_medoids[rows, owner]
    to_medoids[rows, owner] = np.inf
    return owner, nearest, to_medoids.min(axis=1)


def find_groups(matrix: NDArray[np.float64], k: int, seed: int = 0, n_seeds: int = SEEDS) -> list[list[int]]:
    """
    Cluster muscles with the distance max(1 - R, 0): of several seeds' results, the first with the most frequent sum of
    distances, and of equally frequent ones the smallest.

    :param matrix: R, shape (\\|A\\|, \\|A\\|)
    :param k: Number of groups, 1 to \\|A\\|
    :param seed: The first of ``n_seeds`` seeds
    :param n_seeds: How many
    :return: k groups in ascending order, sorted by their first muscle
    :raises ValueError: If k is out of range
    """
    n = len(matrix)
    check_count("k", k)
    if k > n:
        raise ValueError(f"k={k} groups are more than the {n} actuators: choose 1 to {n}.")
    distances = np.maximum(1.0 - matrix, 0.0)
    np.fill_diagonal(distances, 0.0)
    results = [k_medoids(distances, k, seed + number) for number in range(n_seeds)]
    inertias = [float(f"{inertia:.9g}") for inertia, _ in results]
    counts = Counter(inertias)
    chosen = min(counts, key=lambda inertia: (-counts[inertia], inertia))
    owner = results[inertias.index(chosen)][1]
    return sorted(np.flatnonzero(owner == number).tolist() for number in range(k))
