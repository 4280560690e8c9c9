"""The peer in `benchmarks.overhead`: trivial trials of Ray Tune. Runs in an interpreter of its own with `ray[tune]`.

    python tune_overhead.py TRIALS WORKERS  ->  one JSON line on standard output

Wall-clock of `Tuner.fit` per trial, with Ray running already; Tune's settings are its defaults, but for its printing.
"""

import json
import logging
import os
import secrets
import sys
import tempfile
import time

import ray
from ray import tune


def trivial(config: dict) -> None:
    """Report one score."""
    tune.report({"score": float(config["seed"])})


def per_trial(trials: int, workers: int, *, reuse_actors: bool) -> float:
    """Milliseconds per trial."""
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            trivial,
            param_space={"seed": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse_actors, max_concurrent_trials=workers),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        start = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - start
    assert len(results) == trials and not results.errors, f"{len(results)} trials, {len(results.errors)} errors"
    return 1e3 * seconds / trials


def main() -> None:
    """Both ways, in one Ray."""
    trials, workers = int(sys.argv[1]), int(sys.argv[2])
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    ray.init(
        address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    found = {
        "ray": ray.__version__,
        "tune_fresh_ms": per_trial(trials, workers, reuse_actors=False),
        "tune_reuse_ms": per_trial(trials, workers, reuse_actors=True),
    }
    ray.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
