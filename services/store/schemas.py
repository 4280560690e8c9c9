"""What the tables hold: names and types of their columns, with units in the names where there are any.

Settings of learners differ in shape, so `runs` has the learner as JSON text (`spec`) for exactness, and the settings
that people filter and group by as plain columns, null where they do not apply. Only types that Delta and polars share
without loss: no enums, categories or unsigned integers.
"""

from collections.abc import Mapping

import polars as pl

TIME = pl.Datetime("us", "UTC")

SETTINGS = {
    "predictor": pl.String,
    "likelihood": pl.String,
    "prior": pl.String,
    "method": pl.String,
    "optimiser": pl.String,
    "learning_rate": pl.Float64,
    "momentum": pl.Float64,
    "batch_size": pl.Int64,
    "weight_decay": pl.Float64,
    "dropout": pl.Float64,
    "epochs": pl.Int64,
    "chains": pl.Int64,
    "warmup": pl.Int64,
    "draws": pl.Int64,
    "target_accept": pl.Float64,
}

SCHEMAS: Mapping[str, pl.Schema] = {
    "runs": pl.Schema(
        {
            "run_key": pl.String,
            "bundle": pl.String,
            "attempt": pl.Int64,
            "stored_at": TIME,
            "sweep": pl.String,
            "dataset": pl.String,
            "fingerprint": pl.String,
            "split": pl.Int64,
            "split_seed": pl.Int64,
            "validation_share": pl.Float64,
            "test_share": pl.Float64,
            "learner": pl.String,
            "kind": pl.String,
            "seed": pl.Int64,
            "status": pl.String,
            "error": pl.String,
            **SETTINGS,
            "spec": pl.String,
            "n_parameters": pl.Int64,
            "r_hat_max": pl.Float64,
            "ess_min": pl.Float64,
            "divergences": pl.Int64,
            "n_chains": pl.Int64,
            "n_draws": pl.Int64,
            "improper": pl.String,
            "wall_seconds": pl.Float64,
            "compile_seconds": pl.Float64,
            "device_seconds": pl.Float64,
            "device": pl.String,
            "warnings": pl.List(pl.String),
            "git_commit": pl.String,
            "git_dirty": pl.Boolean,
            "python": pl.String,
            "versions": pl.String,
        }
    ),
    "metrics": pl.Schema(
        {
            "run_key": pl.String,
            "part": pl.String,
            "metric": pl.String,
            "value": pl.Float64,
            "standard_error": pl.Float64,
            "n": pl.Int64,
        }
    ),
    "curves": pl.Schema(
        {
            "run_key": pl.String,
            "step": pl.Int64,
            "train_loss": pl.Float64,
            "validation_loss": pl.Float64,
            "learning_rate": pl.Float64,
            "gradient_norm": pl.Float64,
        }
    ),
    "diagnostics": pl.Schema(
        {
            "run_key": pl.String,
            "scope": pl.String,
            "quantity": pl.String,
            "r_hat": pl.Float64,
            "ess_bulk": pl.Float64,
            "ess_tail": pl.Float64,
            "mcse": pl.Float64,
            "divergences": pl.Int64,
            "bfmi": pl.Float64,
            "treedepth_share": pl.Float64,
            "pareto_k": pl.Float64,
        }
    ),
    "geometry": pl.Schema(
        {
            "run_key": pl.String,
            "measurement": pl.String,
            "draw": pl.Int64,
            "measure": pl.String,
            "component": pl.String,
            "value": pl.Float64,
            "standard_error": pl.Float64,
            "status": pl.String,
            "reason": pl.String,
            "n_products": pl.Int64,
            "invariance": pl.String,
            "settings": pl.String,
        }
    ),
    "profiles": pl.Schema(
        {
            "run_key": pl.String,
            "measurement": pl.String,
            "draw": pl.Int64,
            "measure": pl.String,
            "settings": pl.String,
            "x": pl.Float64,
            "y": pl.Float64,
            "value": pl.Float64,
            "standard_error": pl.Float64,
        }
    ),
    "connections": pl.Schema(
        {
            "run_key": pl.String,
            "measurement": pl.String,
            "draw": pl.Int64,
            "other_run_key": pl.String,
            "other_draw": pl.Int64,
            "method": pl.String,
            "barrier": pl.Float64,
            "maximum": pl.Float64,
            "at": pl.Float64,
            "losses": pl.List(pl.Float64),
            "status": pl.String,
            "reason": pl.String,
            "n_products": pl.Int64,
            "settings": pl.String,
        }
    ),
    "measurements": pl.Schema(
        {
            "measurement": pl.String,
            "run_key": pl.String,
            "stored_at": TIME,
            "sweep": pl.String,
            "wall_seconds": pl.Float64,
            "compile_seconds": pl.Float64,
            "device_seconds": pl.Float64,
            "device": pl.String,
            "git_commit": pl.String,
            "git_dirty": pl.Boolean,
            "python": pl.String,
            "versions": pl.String,
        }
    ),
    "pointwise": pl.Schema(
        {
            "run_key": pl.String,
            "row": pl.Int64,
            "log_score": pl.Float64,
            "correct": pl.Boolean,
            "squared_error": pl.Float64,
        }
    ),
    "comparisons": pl.Schema(
        {
            "comparison_key": pl.String,
            "stored_at": TIME,
            "sweep": pl.String,
            "dataset": pl.String,
            "fingerprint": pl.String,
            "a": pl.String,
            "b": pl.String,
            "metric": pl.String,
            "difference": pl.Float64,
            "standard_error": pl.Float64,
            "degrees": pl.Float64,
            "p_better": pl.Float64,
            "p_equivalent": pl.Float64,
            "p_worse": pl.Float64,
            "p_value": pl.Float64,
            "p_adjusted": pl.Float64,
            "rope": pl.Float64,
            "outcome": pl.String,
            "shown": pl.Boolean,
        }
    ),
}

# What a row belongs to; rows of one owner are appended together or not at all. What was measured with the fit has the
# run key for its measurement.
OWNERS: Mapping[str, str] = (
    dict.fromkeys(SCHEMAS, "run_key")
    | dict.fromkeys(("geometry", "profiles", "connections", "measurements"), "measurement")
    | {"runs": "bundle", "comparisons": "comparison_key"}
)

# Each with what may be missing before it, in the order of appending: what is in an index is complete everywhere.
RUN_TABLES = ("metrics", "curves", "diagnostics", "geometry", "pointwise", "runs")
MEASUREMENT_TABLES = ("geometry", "profiles", "connections", "measurements")
INDICES = ("runs", "measurements", "comparisons")
