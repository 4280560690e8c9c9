"""A run's rows for the tables, and those of what is measured at it later."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from models.runs.result import Connected, Diagnostic, Measure, MeasuredProfile, Metric, RunResult
from models.spec.settings import canonical_json
from services.store.bundles import REPLACEABLE, Bundle, Manifest
from services.store.measurements import MeasurementRecord
from services.store.schemas import SCHEMAS, SETTINGS

Rows = Mapping[str, pl.DataFrame]


def rows_of_result(result: RunResult) -> dict[str, pl.DataFrame]:
    """A run's rows by table, but for the one in `runs`. One that failed or was stopped has none: those are no results.

    Raises:
        ValueError: the result has a curve or a pointwise array that the schema does not know.
    """
    if result.status in REPLACEABLE:
        return {}
    key = result.run_key
    rows = {
        "metrics": _from_tuples("metrics", (key,), Metric._fields, result.metrics),
        "curves": _from_arrays("curves", key, result.curves),
        "diagnostics": _from_tuples("diagnostics", (key,), Diagnostic._fields, result.diagnostics),
        "geometry": _of_measures("geometry", (key, key), result.geometry),
        "pointwise": _from_arrays("pointwise", key, result.pointwise),
    }
    return {name: frame for name, frame in rows.items() if frame is not None}


def rows_of_bundle(bundle: Bundle) -> dict[str, pl.DataFrame]:
    """A stored run's rows by table, the one in `runs` as well."""
    return split(bundle.rows()) | {"runs": run_rows([bundle.manifest])}


def run_rows(manifests: Iterable[Manifest]) -> pl.DataFrame:
    """Rows of `runs`. Many at once cost little more than one."""
    return pl.DataFrame([_run_row(manifest) for manifest in manifests], schema=SCHEMAS["runs"])


def rows_of_measurement(record: MeasurementRecord) -> dict[str, pl.DataFrame]:
    """A measurement's rows, by table."""
    found, source = record.measurement, record.provenance
    owner = (found.run_key, found.key)
    index = {
        "measurement": found.key,
        "run_key": found.run_key,
        "stored_at": record.stored_at,
        "sweep": record.sweep,
        "wall_seconds": found.seconds.wall,
        "compile_seconds": found.seconds.compile,
        "device_seconds": found.seconds.device,
        "device": found.device,
        "git_commit": source.git_commit,
        "git_dirty": source.git_dirty,
        "python": source.python,
        "versions": json.dumps(dict(source.versions), sort_keys=True),
    }
    profiles = [_profile(owner, profile) for profile in found.profiles]
    rows = {
        "geometry": _of_measures("geometry", owner, found.geometry),
        "profiles": pl.concat(profiles) if profiles else None,
        "connections": _of_measures("connections", owner, found.connections),
        "measurements": pl.DataFrame([index], schema=SCHEMAS["measurements"]),
    }
    return {name: frame for name, frame in rows.items() if frame is not None}


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings of a measure as the tables hold them: equal settings give equal text."""
    return json.dumps(dict(settings), sort_keys=True)


def comparable(value: Any) -> Any:
    """A setting's value that can be told from others: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _profile(owner: tuple[str, ...], profile: MeasuredProfile) -> pl.DataFrame:
    values = {
        **dict(zip(("run_key", "measurement"), owner, strict=True)),
        "draw": profile.draw,
        "measure": profile.measure,
        "settings": settings_text(profile.settings),
    }
    columns = {"x": profile.x, "value": profile.value, "standard_error": profile.standard_error}
    if profile.y is not None:
        columns["y"] = profile.y
    schema = SCHEMAS["profiles"]
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(values.get(name), dtype).alias(name) for name, dtype in schema.items() if name not in columns
    )
    return frame.select(schema.names())


# L-BFGS searches along lines for its step, and of the others SGD alone has a momentum of its own.
_UNHEEDED = {"lbfgs": ("learning_rate", "momentum"), "adam": ("momentum",), "adamw": ("momentum",)}


def _run_row(run: Manifest) -> dict[str, Any]:
    learner, partition, source, summary = run.learner, run.partition, run.provenance, run.summary or {}
    inference = dict(learner.inference)
    unheeded = _UNHEEDED.get(str(inference.get("optimiser")), ())
    return {
        "run_key": run.run_key,
        "bundle": run.bundle,
        "attempt": run.attempt,
        "stored_at": run.stored_at,
        "sweep": run.sweep,
        "dataset": run.dataset,
        "fingerprint": run.fingerprint,
        "split": partition.index,
        "split_seed": partition.seed,
        "validation_share": partition.validation,
        "test_share": partition.test,
        "learner": learner.name,
        "kind": learner.kind,
        "seed": run.seed,
        "status": run.status,
        "error": run.error,
        **{name: None if name in unheeded else inference.get(name) for name in SETTINGS},
        "predictor": learner.predictor.kind,
        "likelihood": learner.likelihood.kind if learner.likelihood else None,
        "prior": learner.prior.kind,
        "spec": canonical_json(learner),
        "n_parameters": run.n_parameters,
        "r_hat_max": _float(summary.get("r_hat_max")),
        "ess_min": _float(summary.get("ess_min")),
        **{name: _int(summary.get(name)) for name in ("divergences", "n_chains", "n_draws")},
        "improper": run.improper,
        "wall_seconds": run.wall_seconds,
        "compile_seconds": run.compile_seconds,
        "device_seconds": run.device_seconds,
        "device": run.device,
        "warnings": list(run.warnings),
        "git_commit": source.git_commit,
        "git_dirty": source.git_dirty,
        "python": source.python,
        "versions": json.dumps(dict(source.versions), sort_keys=True),
    }


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _of_measures(table: str, owner: tuple[str, ...], rows: Iterable[Measure | Connected]) -> pl.DataFrame | None:
    fields = Connected._fields if table == "connections" else Measure._fields
    return _from_tuples(table, owner, fields, [r._replace(settings=settings_text(r.settings)) for r in rows])


def _from_tuples(
    table: str, owner: tuple[str, ...], fields: tuple[str, ...], tuples: Sequence[tuple]
) -> pl.DataFrame | None:
    columns = (*("run_key", "measurement")[: len(owner)], *fields)
    assert columns == tuple(SCHEMAS[table]), f"table {table!r} and its record do not match"
    if not tuples:
        return None
    return pl.DataFrame([(*owner, *values) for values in tuples], schema=SCHEMAS[table], orient="row", strict=False)


def _from_arrays(table: str, key: str, arrays: Mapping[str, Any]) -> pl.DataFrame | None:
    schema = SCHEMAS[table]
    if unknown := sorted(set(arrays) - set(schema)):
        raise ValueError(f"table {table!r} has no column for {', '.join(unknown)}; it has {', '.join(schema)}")
    columns = {name: pl.Series(values).cast(schema[name]) for name, values in arrays.items()}
    if not any(map(len, columns.values())):
        return None
    n = max(map(len, columns.values()))
    columns["run_key"] = pl.Series([key] * n, dtype=pl.String)
    return pl.DataFrame([columns.get(c, pl.Series([None] * n, dtype=t)).alias(c) for c, t in schema.items()])


def join(rows: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Rows of all tables in one frame, with a column `table`: what a bundle keeps."""
    labelled = [f.clone().insert_column(0, pl.Series("table", [table] * len(f))) for table, f in rows.items()]
    return pl.concat(labelled, how="diagonal") if labelled else pl.DataFrame(schema={"table": pl.String})


def split(joined: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The inverse of `join`."""
    tables = joined["table"].unique(maintain_order=True)
    return {t: joined.filter(pl.col("table") == t).select(SCHEMAS[t].names()) for t in tables}


def stacked(rows: Iterable[Rows]) -> dict[str, pl.DataFrame]:
    """The rows of many runs, measurements and comparisons, by table."""
    rows = list(rows)
    return {t: pl.concat(r[t] for r in rows if t in r) for t in SCHEMAS if any(t in r for r in rows)}
