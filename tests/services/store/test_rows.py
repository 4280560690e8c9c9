import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models.spec.inference import Optimise
from services.store.rows import join, split
from services.store.schemas import OWNERS, RUN_TABLES, SCHEMAS
from tests.support import factories
from tests.support.factories import rows_of


@pytest.mark.parametrize("make", [factories.result, factories.diverged, factories.failed, factories.sampled])
def test_rows_have_the_schema_of_their_table(make) -> None:
    request = factories.request()
    for table, frame in rows_of(factories.record(request, make(request))).items():
        assert frame.schema == SCHEMAS[table], table
        assert set(frame["run_key"]) == {request.run_key}


def test_a_run_is_one_row_of_its_settings() -> None:
    request = factories.request(7, split=3)
    row = rows_of(factories.record(request))["runs"].row(0, named=True)
    assert row["learner"] == "mlp-sgd"
    assert row["kind"] == "deterministic"
    assert (row["seed"], row["split"]) == (7, 3)
    assert (row["method"], row["optimiser"], row["learning_rate"], row["batch_size"]) == ("optimise", "sgd", 0.1, 32)
    assert (row["chains"], row["r_hat_max"], row["error"]) == (None, None, None)
    assert row["warnings"] == ["Vorsicht: β ≠ 0", ""]
    assert json.loads(row["spec"])["inference"]["learning_rate"] == 0.1


@pytest.mark.parametrize(
    ("optimiser", "heeded"),
    [("sgd", (0.1, 0.9)), ("adam", (0.1, None)), ("adamw", (0.1, None)), ("lbfgs", (None, None))],
)
def test_a_setting_that_the_optimiser_does_not_heed_is_not_shown(optimiser, heeded) -> None:
    request = factories.request()
    inference = Optimise(optimiser=optimiser, learning_rate=0.1, momentum=0.9, batch_size=None)
    request = dataclasses.replace(request, learner=request.learner.model_copy(update={"inference": inference}))
    row = rows_of(factories.record(request))["runs"].row(0, named=True)
    assert (row["learning_rate"], row["momentum"]) == heeded


def test_a_sampler_shows_its_own_settings_and_summary() -> None:
    request = factories.request(bayesian=True)
    row = rows_of(factories.record(request, factories.sampled(request)))["runs"].row(0, named=True)
    assert (row["method"], row["chains"], row["draws"], row["learning_rate"]) == ("nuts", 2, 6, None)
    assert (row["r_hat_max"], row["ess_min"], row["n_chains"]) == (float("inf"), 4.0, 2)


def test_nan_stays_nan_and_absent_stays_null() -> None:
    rows = rows_of(factories.record(factories.request()))
    assert rows["metrics"]["standard_error"].is_nan().to_list() == [False, True]
    assert rows["geometry"]["value"].is_null().to_list() == [False, True]
    assert rows["curves"]["learning_rate"].is_nan().sum() == 1
    assert rows["curves"]["gradient_norm"].null_count() == 4
    assert rows["pointwise"]["correct"].to_list() == [False, False, True]
    assert rows["pointwise"]["squared_error"].null_count() == 3


def test_a_failed_run_has_a_row_in_runs_and_no_numbers() -> None:
    request = factories.request()
    value = dataclasses.replace(factories.result(request), status="failed", error="no memory")
    assert set(rows_of(factories.record(request, value))) == {"runs"}


@pytest.mark.parametrize("table", ["curves", "pointwise"])
def test_an_array_without_a_column_is_not_dropped_silently(table: str) -> None:
    request = factories.request()
    value = dataclasses.replace(factories.result(request), **{table: {"surprise": np.zeros(3)}})
    with pytest.raises(ValueError, match="surprise"):
        rows_of(factories.record(request, value))


@pytest.mark.parametrize("make", [factories.result, factories.diverged, factories.failed])
def test_split_undoes_join(make) -> None:
    rows = rows_of(factories.record(request := factories.request(), make(request)))
    found = split(join(rows))
    assert set(found) == set(rows)
    for table, frame in rows.items():
        assert_frame_equal(found[table], frame)


def test_columns_of_one_name_have_one_type_so_that_tables_can_be_joined() -> None:
    types: dict[str, set] = {}
    for schema in SCHEMAS.values():
        for name, dtype in schema.items():
            types.setdefault(name, set()).add(dtype)
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


def test_tables_hold_only_types_that_delta_gives_back() -> None:
    plain = {
        pl.String,
        pl.Int64,
        pl.Float64,
        pl.Boolean,
        pl.List(pl.String),
        pl.List(pl.Float64),
        pl.Datetime("us", "UTC"),
    }
    assert {dtype for schema in SCHEMAS.values() for dtype in schema.values()} <= plain
    assert all(owner in SCHEMAS[table] for table, owner in OWNERS.items())
    assert RUN_TABLES[-1] == "runs"
