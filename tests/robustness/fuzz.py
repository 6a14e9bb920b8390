"""
``PYTHONPATH=tests python tests/robustness/fuzz.py --constructions 10000``: build models at random.

Each is built or refused by a clear error of ours, and predicts inside its box; of every so many the first gradient step
and the way through a file are checked too.
"""

import argparse
import math
import time
from collections import Counter
from pathlib import Path

import torch as th
from helpers.fuzz_cases import Case, build, cases, check_predictions, check_round_trip, check_update
from helpers.injection_record import FOLDER, write_record
from hypothesis import HealthCheck, Phase, given, seed, settings


class _TimeIsUpError(Exception):
    pass


def fuzz(constructions: int, train_every: int, start: int = 0, minutes: float = math.inf) -> Counter[str]:
    """
    :param constructions: Models to ask for
    :param train_every: Of so many that were built, one is trained, saved and loaded
    :param start: Seed of the cases
    :param minutes: After which to end early
    :return: How many were "built", "refused" and "trained"
    :raises AssertionError: With the smallest case that hypothesis found for it
    """
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + 60.0 * minutes

    @seed(start)
    @settings(
        max_examples=constructions,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(cases())
    def check(case: Case) -> None:
        if time.monotonic() > deadline:
            raise _TimeIsUpError
        model = build(case)
        counts["refused" if model is None else "built"] += 1
        if model is None:
            return
        check_predictions(model)
        if counts["built"] % train_every == 0:
            check_update(model)
            check_round_trip(model)
            counts["trained"] += 1

    try:
        check()
    except _TimeIsUpError:
        print("Time is up.")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constructions", type=int, default=10_000)
    parser.add_argument("--train-every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end early; the file says what was done")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the JSON file")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    counts = fuzz(arguments.constructions, arguments.train_every, arguments.seed, arguments.minutes)
    path = write_record(
        "fuzzed_models",
        arguments.out,
        fault="Odd spaces and options",
        how="models of random Box and Dict spaces, types, 1 to 300 actuators, options in and out of range",
        count=counts["built"] + counts["refused"],
        outcome=f"{counts['built']:,} built, all of whose actions were inside the box, {counts['refused']:,} refused "
        f"by a clear error; {counts['trained']:,} of the built ones trained, saved and loaded",
        lost="nothing",
        seed=arguments.seed,
        **counts,
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
